/** `--tokenizer`: the files of a tokenizer that a package keeps, byte for byte. */

import { copyFileSync, mkdirSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { badOption, fileNotFound } from '../errors.ts';
import { loadTokenizer, tokenizerFiles, tokenizerName } from '../text/load.ts';

/** The folder in a package. */
export const tokenizerFolder = 'tokenizer';

const isFile = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isFile() === true;

/**
 * The folder of the tokenizer of a model: the option's, else that of the model, or the one above it, where the Hub has
 * it. Errors: FILE_NOT_FOUND, BAD_OPTION, BAD_TOKENIZER for a tokenizer that the option names.
 */
export async function tokenizerSource(option: string | undefined, model: string): Promise<string | undefined> {
  if (option === 'none') return undefined;
  const beside = dirname(resolve(model));
  if (option === undefined) return [beside, dirname(beside)].find((folder) => isFile(join(folder, tokenizerName)));
  const stat = statSync(option, { throwIfNoEntry: false });
  if (stat === undefined) throw fileNotFound(option, 'it does not exist');
  if (stat.isFile() && basename(option) !== tokenizerName)
    throw badOption(
      `--tokenizer: "${option}" is not a ${tokenizerName}`,
      `give the folder with ${tokenizerName}; transformers writes it with save_pretrained`,
    );
  const folder = stat.isFile() ? dirname(option) : option;
  if (!isFile(join(folder, tokenizerName)))
    throw badOption(
      `--tokenizer: "${folder}" has no ${tokenizerName}`,
      `write it with transformers: AutoTokenizer.from_pretrained(...).save_pretrained("${folder}")`,
    );
  await loadTokenizer(folder);
  return folder;
}

/** Copies the files that are there. */
export function copyTokenizer(from: string, packageDir: string): void {
  const to = join(packageDir, tokenizerFolder);
  mkdirSync(to);
  for (const name of tokenizerFiles) if (isFile(join(from, name))) copyFileSync(join(from, name), join(to, name));
}
