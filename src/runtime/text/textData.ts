/** Decides whether data are rows of text, and opens them with the tokenizer of the package. */

import { join } from 'node:path';
import { badData } from '../../errors.ts';
import type { InputInfo, Manifest } from '../../formats/manifest.ts';
import { type ChatTemplates, loadChatTemplates, loadTokenizer } from '../../text/load.ts';
import type { TextTokenizer } from '../../text/tokenizer.ts';
import type { DataSpec, Dataset } from '../data/dataset.ts';
import { dataExtension } from '../data/index.ts';
import type { PlainRow } from '../data/rowsDataset.ts';
import { hasOtherColumns, isTextFile } from './columns.ts';
import { openText, type TextOptions } from './openText.ts';
import { type SourceRow, sourceColumns, sourceRows } from './sourceRows.ts';
import { taskOf, textInputs } from './task.ts';

/** A package whose rows may be text. */
export interface TextPackage {
  readonly directory: string;
  readonly manifest: Manifest;
  /** The inputs that the graph reads. */
  readonly inputs: readonly InputInfo[];
}

export interface TextDataset {
  readonly dataset: Dataset;
  /** The padding of token ids, by input. */
  readonly pad: Readonly<Record<string, number>>;
}

/**
 * Rows of text as a dataset; undefined if the data have token ids, or are of a format or for a model without text.
 * Errors: BAD_DATA for text if the package has no tokenizer, and for rows that the task cannot read; BAD_TOKENIZER.
 */
export async function textData(
  data: string | readonly PlainRow[],
  { directory, manifest, inputs: read }: TextPackage,
  spec: DataSpec,
  options: TextOptions,
): Promise<TextDataset | undefined> {
  const inputs = textInputs(read);
  if (inputs === undefined) return undefined;
  const file = typeof data === 'string' ? data : 'rows';
  const extension = typeof data === 'string' ? dataExtension(data) : '';
  const columns =
    typeof data === 'string'
      ? await sourceColumns(data, extension)
      : data.length === 0
        ? undefined
        : new Set(Object.keys(data[0] ?? {}));
  if (columns === undefined || columns.has(inputs.ids.name) || !isTextFile(columns, options)) return undefined;
  if (manifest.tokenizer === undefined && hasOtherColumns(columns)) return undefined;
  if (manifest.tokenizer === undefined)
    throw badData(
      `there is no "${inputs.ids.name}", and text needs a tokenizer, which the package lacks`,
      file,
      'compile again with --tokenizer FOLDER, where tokenizer.json is; --force replaces the package',
    );
  const task = taskOf(manifest, inputs.ids, spec.labels !== undefined);
  if (task === undefined)
    throw badData(
      `the labels of this package (loss ${manifest.loss?.kind}) do not come from text`,
      file,
      'give rows of token ids and labels; loraify inspect PACKAGE shows their names and shapes',
    );
  const rows = typeof data === 'string' ? (sourceRows(data, extension) ?? []) : plainRows(data);
  const { tokenizer, templates } = await packageTokenizer(join(directory, manifest.tokenizer));
  const dataset = await openText({ file, rows, task, inputs, tokenizer, templates }, spec, manifest, options);
  const padding = tokenizer.pad ?? tokenizer.eos;
  return { dataset, pad: padding === undefined ? {} : { [inputs.ids.name]: padding.id } };
}

function* plainRows(rows: readonly PlainRow[]): Generator<SourceRow> {
  for (const [i, row] of rows.entries())
    yield { where: `row ${i}`, columns: new Map<string, unknown>(Object.entries(row)) };
}

interface Loaded {
  readonly tokenizer: TextTokenizer;
  readonly templates: ChatTemplates | undefined;
}

/** Tokenizers that were loaded: training and evaluation data share one. */
const loaded = new Map<string, Promise<Loaded>>();

function packageTokenizer(folder: string): Promise<Loaded> {
  const found = loaded.get(folder) ?? load(folder);
  loaded.clear();
  loaded.set(folder, found);
  return found;
}

async function load(folder: string): Promise<Loaded> {
  const tokenizer = await loadTokenizer(folder);
  return { tokenizer, templates: await loadChatTemplates(folder, tokenizer) };
}
