/** Rows of text as a dataset of token ids. */

import { badData, type LoraifyError } from '../../errors.ts';
import type { Manifest } from '../../formats/manifest.ts';
import type { NumericArray } from '../../formats/rawTensor.ts';
import type { ChatTemplates } from '../../text/load.ts';
import type { TextTokenizer } from '../../text/tokenizer.ts';
import { convert } from '../data/convert.ts';
import {
  checkedValue,
  checkShape,
  type DataOptions,
  type DataSpec,
  type Dataset,
  type Field,
  fieldsOf,
  finishLabels,
  type Row,
  type RowValue,
} from '../data/dataset.ts';
import { type ClassReader, classReader } from '../data/labels.ts';
import { completed } from '../data/missing.ts';
import { packedRows } from '../data/packed.ts';
import { checkIndices } from '../data/tables.ts';
import type { ColumnOptions } from './columns.ts';
import { textRow } from './conversion.ts';
import type { SourceRow } from './sourceRows.ts';
import type { Task, TextInputs } from './task.ts';
import type { Conversion, CountOptions } from './textRow.ts';
import { type TokenStore, tokenStore } from './tokenStore.ts';

export interface TextSource {
  readonly file: string;
  readonly rows: AsyncIterable<SourceRow> | Iterable<SourceRow>;
  readonly task: Task;
  readonly inputs: TextInputs;
  readonly tokenizer: TextTokenizer;
  readonly templates: ChatTemplates | undefined;
}

export interface TextOptions extends ColumnOptions, CountOptions, DataOptions {
  /** The most tokens of a row. */
  readonly maxLength?: number | undefined;
}

/**
 * Reads and tokenizes all rows once; their ids are kept in memory up to a limit, and beyond it in a temporary file.
 * Rows in which no label counts are left out. Errors: BAD_DATA, which names row and column; WRITE_FAILED.
 */
export async function openText(
  source: TextSource,
  spec: DataSpec,
  manifest: Manifest,
  options: TextOptions,
): Promise<Dataset> {
  const { file, task, inputs, tokenizer } = source;
  const fields = fieldsOf(spec, options);
  const where = places(fields, inputs, task);
  const { ids, tags, labels, absent } = where;
  if (absent !== undefined)
    throw badData(
      `the model reads "${absent.name}" too, which text does not give`,
      file,
      'prepare rows of token ids with all inputs, or fix the input at the compile with --bind',
    );
  const how: Conversion = {
    task,
    tokenizer,
    templates: source.templates,
    options,
    maxLength: longestRow(ids, fields, tokenizer, options.maxLength),
    ignoreIndex: options.ignoreIndex ?? manifest.loss?.ignoreIndex ?? -100,
    classes: (labels ?? tags)?.classes ?? namesReader(manifest),
    width: Number(labels?.shape[0] ?? 1),
  };
  const tokens = tokenStore();
  try {
    const labelRows = await readRows(source, where, how, tokens, fields);
    finishLabels(fields, file);
    return completed(textDataset(file, fields, where, tokens, labelRows), how.ignoreIndex);
  } catch (error) {
    tokens.close();
    throw error;
  }
}

/** Tokenizes all rows. Returns the labels of rows. */
async function readRows(
  { file, task, tokenizer, rows }: TextSource,
  { ids, types, tags, labels }: Places,
  how: Conversion & { readonly options: TextOptions },
  tokens: TokenStore,
  fields: readonly Field[],
): Promise<Dataset> {
  const ends = packedRows(labels === undefined ? [] : [labels]);
  let leftOut = 0;
  for await (const { where, columns } of rows) {
    const fail = (reason: string): LoraifyError => badData(`${where}: ${reason}`, file);
    const row = textRow(columns, how, fail);
    if (row.ids.length === 0) throw fail('the text has no tokens');
    checkIds(ids, row.ids, tokenizer, fail);
    checkShape(ids, [row.ids.length], fail);
    // The first token of a language model is not predicted.
    const counts = task.kind === 'language-model' ? row.tags?.slice(1) : row.tags;
    if (tags !== undefined && counts?.some((tag) => tag !== how.ignoreIndex) !== true) {
      leftOut += 1;
      continue;
    }
    const ofTypes = types === undefined ? [] : row.types;
    tokens.add([...row.ids, ...ofTypes, ...(tags === undefined ? [] : (row.tags ?? []))]);
    if (labels !== undefined) ends.add(new Map([[labels.name, labelsValue(labels, row.labels ?? [], fail)]]));
  }
  if (tokens.rows === 0 && leftOut === 0) throw badData('the file has no rows', file);
  const within = how.maxLength === undefined ? '' : ` within ${how.maxLength} tokens`;
  if (tokens.rows === 0)
    throw badData(`none of the ${leftOut} rows has a token that counts${within}`, file, 'raise --max-length');
  if (leftOut > 0)
    how.options.onNotice?.(`${file}: ${leftOut} rows have no token that counts${within}: they are left out`);
  return ends.dataset(file, fields);
}

function textDataset(
  file: string,
  fields: readonly Field[],
  { ids, types, tags, labels }: Places,
  tokens: TokenStore,
  labelRows: Dataset,
): Dataset {
  const parts = [ids, types, tags].filter((field) => field !== undefined);
  return {
    file,
    rows: tokens.rows,
    fields,
    row(index): Row {
      if (!Number.isInteger(index) || index < 0 || index >= tokens.rows)
        throw badData(`there is no row ${index}`, file);
      const all = tokens.at(index);
      const length = all.length / parts.length;
      const entryOf = (field: Field, i: number): [string, RowValue] => [
        field.name,
        { shape: [length], data: elements(field, all.subarray(i * length, (i + 1) * length)) },
      ];
      const row = parts.map(entryOf);
      return new Map(labels === undefined ? row : [...row, ...labelRows.row(index)]);
    },
    close: () => tokens.close(),
  };
}

interface Places {
  readonly ids: Field;
  readonly types: Field | undefined;
  /** Labels of tokens. */
  readonly tags: Field | undefined;
  /** Labels of rows. */
  readonly labels: Field | undefined;
  /** An input that nothing fills. */
  readonly absent: Field | undefined;
}

function places(fields: readonly Field[], inputs: TextInputs, { kind }: Task): Places {
  const find = (name: string | undefined): Field | undefined =>
    fields.find((field) => field.name === name && !field.isLabels);
  const [ids, mask, types] = [find(inputs.ids.name), find(inputs.mask?.name), find(inputs.types?.name)];
  if (ids === undefined) throw new Error(`"${inputs.ids.name}" is not read`);
  const given = fields.find((field) => field.isLabels);
  const isPerToken = kind === 'language-model' || kind === 'token-classification';
  const filled = new Set([ids, mask, types, given]);
  const absent = fields.find((field) => !filled.has(field) && field.missing === undefined);
  return { ids, types, tags: isPerToken ? given : undefined, labels: isPerToken ? undefined : given, absent };
}

/** The lesser of the limits of the option, the tokenizer and the model. */
function longestRow(
  ids: Field,
  fields: readonly Field[],
  tokenizer: TextTokenizer,
  given?: number,
): number | undefined {
  const { longest, fixed, isCut } = ids;
  const [own] = fixed ?? [];
  const ofTables = fields.flatMap((field) => (field.isLabels ? [] : (field.lengths ?? []))).map(({ most }) => most);
  const ofGraphs = typeof own === 'number' && isCut !== true ? own : undefined;
  const known = [given, tokenizer.maxLength, longest, ofGraphs, ...ofTables].filter((limit) => limit !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
}

/** Errors: BAD_DATA for an id beyond the table that the model reads, with its token. */
function checkIds(
  { name, tables = [] }: Field,
  ids: readonly number[],
  tokenizer: TextTokenizer,
  fail: (reason: string) => Error,
): void {
  for (const range of tables)
    checkIndices(range, [ids.length], Int32Array.from(ids), (reason, i = 0) =>
      fail(
        `"${name}"[${i}], the token "${tokenizer.tokenText(ids[i] ?? 0) ?? ''}": ${reason}; the tokenizer is another model's`,
      ),
    );
}

/** The classes of labels that are lists of names. */
function namesReader({ labels }: Manifest): ClassReader | undefined {
  return labels?.names && classReader({ kind: 'class', names: labels.names, ignoreIndex: -1 });
}

/** @param values class numbers instead of names. */
function labelsValue(field: Field, values: readonly unknown[], fail: (reason: string) => Error): RowValue {
  const shape = field.shape.map((dim) => (typeof dim === 'number' ? dim : values.length));
  return checkedValue({ ...field, classes: undefined }, shape, values, (reason) => fail(`"${field.name}": ${reason}`));
}

/** Integers as elements of a field. */
function elements({ type }: Field, values: Int32Array): NumericArray {
  if (type !== 'int64') return convert(type, values, (reason) => new Error(reason));
  const data = new BigInt64Array(values.length);
  for (const [i, value] of values.entries()) data[i] = BigInt(value);
  return data;
}
