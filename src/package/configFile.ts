/** config.json of transformers, for the models that are made from a package: the source's own, with the classes. */
import { copyFileSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { Manifest } from '../formats/manifest.ts';
import { heads } from '../graph/choices/heads.ts';
import { type LossKind, losses } from '../graph/choices/losses.ts';
import { headFamily } from '../passes/index.ts';
import { tokenizerFiles } from '../text/load.ts';

export const configName = 'config.json';

type Config = Readonly<Record<string, unknown>>;

/** The classes of a compile. */
export interface ClassesGiven {
  readonly head?: Manifest['head'] | undefined;
  readonly names?: readonly string[] | undefined;
  readonly loss: LossKind | 'auto';
}

/** Writes it into a new package; nothing without a head and without names of classes. */
export function writeConfig(folder: string, given: ClassesGiven, source: Config): void {
  const fields = configFields(given, source);
  if (Object.keys(fields).length === 0) return;
  writeFileSync(join(folder, configName), `${JSON.stringify({ ...source, ...fields }, undefined, 2)}\n`);
}

/** The fields that differ from the source's. */
function configFields({ head, names: given, loss }: ClassesGiven, source: Config): Config {
  const size = head !== undefined && heads[head.kind].outputs !== 'size' ? head.linear?.size : undefined;
  // transformers' own names for classes without one.
  const made = Array.from({ length: size ?? 0 }, (_, i) => `LABEL_${i}`);
  const names = given ?? made;
  if (names.length === 0) return {};
  return {
    id2label: Object.fromEntries(names.map((name, i) => [String(i), name])),
    label2id: Object.fromEntries(names.map((name, i) => [name, i])),
    ...(head === undefined ? {} : ofHead(head, loss, source)),
  };
}

function ofHead(head: NonNullable<Manifest['head']>, loss: ClassesGiven['loss'], { architectures }: Config): Config {
  const { kind } = head;
  const [first]: unknown[] = Array.isArray(architectures) ? architectures : [];
  const family = typeof first === 'string' ? /^(\w+?)(?:LMHeadModel|Model|For[A-Z]\w*)$/.exec(first)?.[1] : undefined;
  const images = headFamily(head.family)?.images === true;
  const suffix = !heads[kind].pools
    ? 'ForTokenClassification'
    : images
      ? 'ForImageClassification'
      : 'ForSequenceClassification';
  const classes = loss !== 'auto' && losses[loss].over === 'elements' ? 'multi' : 'single';
  const problem = heads[kind].outputs === 'one' ? 'regression' : `${classes}_label_classification`;
  return {
    ...(family === undefined ? {} : { architectures: [`${family}${suffix}`] }),
    ...(heads[kind].pools ? { problem_type: problem } : {}),
  };
}

/**
 * Copies config.json and the tokenizer of a package beside a model that is built in the folder `building` and ends up at
 * `out`. A file of the user's stays, with a warning.
 */
export function carryConfig(packageDir: string, { tokenizer }: Manifest, out: string, building: string): string[] {
  const files = [configName, ...(tokenizer === undefined ? [] : tokenizerFiles.map((name) => join(tokenizer, name)))];
  return files.flatMap((file) => carried(join(packageDir, file), out, building));
}

function carried(own: string, out: string, building: string): string[] {
  const name = basename(own);
  if (!existsSync(own)) return [];
  const there = join(dirname(resolve(out)), name);
  if (!existsSync(there)) {
    copyFileSync(own, join(building, name));
    return [];
  }
  const isSame = statSync(there).size === statSync(own).size && readFileSync(own).equals(readFileSync(there));
  return isSame ? [] : [`"${there}" is another ${name} and stays: that of this model is "${own}"`];
}
