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
import { completed } from '../data/missing.ts';
import { packedRows } from '../data/packed.ts';
import { checkIndices } from '../data/tableRange.ts';
import type { ColumnOptions } from './columns.ts';
import { type Conversion, type CountOptions, textRow } from './conversion.ts';
import type { SourceRow } from './sourceRows.ts';
import type { Task, TextInputs } from './task.ts';
import { tokenStore } from './tokenStore.ts';

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
  const { ids, types, tags, labels, absent } = places(fields, inputs, task);
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
    maxLength: longestRow(ids, tokenizer, options.maxLength),
    ignoreIndex: options.ignoreIndex ?? manifest.loss?.ignoreIndex ?? -100,
    classes: (labels ?? tags)?.classes,
    width: Number(labels?.shape[0] ?? 1),
  };
  const tokens = tokenStore();
  const ends = packedRows(labels === undefined ? [] : [labels]);
  let leftOut = 0;
  try {
    for await (const { where, columns } of source.rows) {
      const fail = (reason: string): LoraifyError => badData(`${where}: ${reason}`, file);
      const row = textRow(columns, how, fail);
      if (row.ids.length === 0) throw fail('the text has no tokens');
      if (ids.range !== undefined) checkIds(ids, row.ids, tokenizer, fail);
      checkShape(ids, [row.ids.length], fail);
      // Nothing is predicted from the last token, and nothing predicts the first.
      const counts = task.kind === 'language-model' ? row.tags?.slice(1) : row.tags;
      if (tags !== undefined && counts?.some((tag) => tag !== how.ignoreIndex) !== true) {
        leftOut += 1;
        continue;
      }
      tokens.add([
        ...row.ids,
        ...(types === undefined ? [] : row.types),
        ...(tags === undefined ? [] : (row.tags ?? [])),
      ]);
      if (labels !== undefined) ends.add(new Map([[labels.name, labelsValue(labels, row.labels ?? [], fail)]]));
    }
    finishLabels(fields, file);
    if (tokens.rows === 0)
      throw badData(
        leftOut === 0
          ? 'the file has no rows'
          : `no token of the ${leftOut} rows counts in ${how.maxLength ?? 'their'} tokens`,
        file,
        leftOut === 0 ? undefined : 'raise --max-length, so that completions are not cut off',
      );
  } catch (error) {
    tokens.close();
    throw error;
  }
  if (leftOut > 0)
    options.onNotice?.(
      `${file}: ${leftOut} rows have no token that counts within ${how.maxLength} tokens: they are left out`,
    );
  const labelRows = ends.dataset(file, fields);
  const parts = [ids, types, tags].filter((field) => field !== undefined);
  const dataset: Dataset = {
    file,
    rows: tokens.rows,
    fields,
    row(index): Row {
      if (!Number.isInteger(index) || index < 0 || index >= tokens.rows)
        throw badData(`there is no row ${index}`, file);
      const all = tokens.at(index);
      const length = all.length / parts.length;
      const row = new Map<string, RowValue>(
        parts.map((field, i) => [
          field.name,
          { shape: [length], data: elements(field, all.subarray(i * length, (i + 1) * length)) },
        ]),
      );
      return labels === undefined ? row : new Map([...row, ...labelRows.row(index)]);
    },
    close: tokens.close,
  };
  return completed(dataset, how.ignoreIndex);
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
  { longest, fixed, isCut }: Field,
  tokenizer: TextTokenizer,
  given: number | undefined,
): number | undefined {
  const [own] = fixed ?? [];
  const limits = [given, tokenizer.maxLength, longest, typeof own === 'number' && isCut !== true ? own : undefined];
  const known = limits.filter((limit) => limit !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
}

/** Errors: BAD_DATA for an id beyond the table that the model reads, with its token. */
function checkIds(
  { name, range }: Field,
  ids: readonly number[],
  tokenizer: TextTokenizer,
  fail: (reason: string) => Error,
): void {
  if (range === undefined) return;
  checkIndices(range, Int32Array.from(ids), (reason, i = 0) =>
    fail(
      `"${name}"[${i}], the token "${tokenizer.tokenText(ids[i] ?? 0) ?? ''}": ${reason}; the tokenizer is another model's`,
    ),
  );
}

function labelsValue(field: Field, values: readonly unknown[], fail: (reason: string) => Error): RowValue {
  const shape = field.shape.map((dim) => (typeof dim === 'number' ? dim : values.length));
  return checkedValue(field, shape, values, (reason) => fail(`"${field.name}": ${reason}`));
}

/** Integers as elements of a field. */
function elements({ type }: Field, values: Int32Array): NumericArray {
  if (type !== 'int64') return convert(type, values, (reason) => new Error(reason));
  const data = new BigInt64Array(values.length);
  for (const [i, value] of values.entries()) data[i] = BigInt(value);
  return data;
}
