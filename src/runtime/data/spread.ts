/**
 * The columns of a table that fill the only input in their order, and the refusal of those that do not belong to it.
 */

import { badData } from '../../errors.ts';
import { elementCount } from '../../formats/rawTensor.ts';
import { listed } from './cells.ts';
import type { DataOptions, Field } from './dataset.ts';
import { isNotData, isUnnamed } from './stray.ts';

/** Columns by their position, and their names. */
export interface Columns {
  readonly file: string;
  readonly header: readonly string[];
  readonly others: readonly number[];
}

/**
 * Checks the columns that fill an input. Where its size is fixed, their number must fit. Where it is open, any number
 * would: the columns that are named alike are taken (`t0`, `t1`, ...), and others beside them are refused. Errors:
 * BAD_DATA, which names the columns.
 */
export function checkSpread(field: Field, { file, header, others }: Columns, options: DataOptions): void {
  const names = others.map((i) => header[i] ?? '');
  const unnamed = others.find((i) => isUnnamed(header[i] ?? ''));
  if (unnamed !== undefined)
    throw badData(`column ${unnamed + 1} has no name; every column of an input needs one`, file);
  const fixed = fixedSizes(field);
  const isOpen = fixed.length < field.shape.length;
  const size = elementCount(fixed) ?? 0;
  const series = seriesOf(names);
  const odd = series === undefined ? names.filter(isNotData) : names.filter((name) => !series.includes(name));
  const isFit = isOpen ? size > 0 && names.length % size === 0 : names.length === size;
  // A number of columns that fits by chance still must not contain row numbers.
  const strange = isOpen || !isFit ? odd : series === undefined ? [] : odd.filter(isNotData);
  if (strange.length > 0 && strange.length < names.length) throw notInputs(field, strange, names, isFit, file);
  if (!isOpen || !isFit) return;
  if (series === undefined && names.length > 1)
    options.onNotice?.(`${file}: "${field.name}" is filled from ${names.length} columns: ${listed(names)}`);
  else if (series !== undefined && !isAscending(series))
    options.onNotice?.(
      `${file}: the columns ${listed(names)} fill "${field.name}" in the order of the file, not of their numbers`,
    );
}

function notInputs(field: Field, strange: readonly string[], all: readonly string[], isFit: boolean, file: string) {
  const kept = all.filter((name) => !strange.includes(name));
  const are = strange.length === 1 ? 'is not an input' : 'are not inputs';
  const count = isFit ? '' : ` ("${field.name}" needs ${sizeText(field)} columns, but the file has ${all.length})`;
  return badData(
    `${strange.length === 1 ? 'column' : 'columns'} ${listed(strange)} ${are}: the others, ${listed(kept)}, fill "${field.name}"${count}`,
    file,
    `remove ${strange.length === 1 ? 'the column' : 'these columns'}, or name the columns of the input "${field.name}[0]", "${field.name}[1]" and so on`,
  );
}

export const fixedSizes = (field: Field): number[] => field.shape.filter((dim) => typeof dim === 'number');

/** The number of columns that an input needs: `4`, or `a multiple of 2` if an axis is open. */
export function sizeText(field: Field): string {
  const fixed = fixedSizes(field);
  const size = elementCount(fixed) ?? 0;
  return fixed.length < field.shape.length ? `a multiple of ${size}` : String(size);
}

/** The names that consist of one word and a number, if they are more than half of at least two. */
function seriesOf(names: readonly string[]): string[] | undefined {
  const stems = new Map<string, string[]>();
  for (const name of names) {
    const stem = stemOf(name);
    if (stem !== undefined) stems.set(stem, [...(stems.get(stem) ?? []), name]);
  }
  for (const [stem, numbered] of stems) {
    // pandas numbers repeated names from the second on: x, x.1, x.2.
    const series = names.filter((name) => numbered.includes(name) || name === stem);
    if (series.length > 1 && 2 * series.length > names.length) return series;
  }
  return undefined;
}

const numbered = /^(.*?)[[_.\- ]?(\d+)\]?$/s;

const stemOf = (name: string): string | undefined => numbered.exec(name)?.[1];

function isAscending(names: readonly string[]): boolean {
  const numbers = names.map((name) => Number(numbered.exec(name)?.[2] ?? -1));
  return numbers.every((number, i) => i === 0 || number > (numbers[i - 1] ?? 0));
}

/**
 * Refuses a first line of numbers, which is a row and not a header (pandas names columns 0, 1, 2, ... itself), and a
 * header that was not split. Errors: BAD_DATA.
 */
export function checkHeader(header: readonly string[], file: string): void {
  const [only = ''] = header;
  if (header.length === 1 && /\S\s+\S/.test(only))
    throw badData(
      `the header has one column, "${only}"`,
      file,
      'separate the columns by commas, semicolons, tabs or vertical bars',
    );
  const numbers = header.map((name) => (name.trim() === '' ? Number.NaN : Number(name)));
  const isCount =
    numbers.every((number, i) => number === (numbers[0] ?? 0) + i) && (numbers[0] === 0 || numbers[0] === 1);
  if (numbers.some(Number.isNaN) || isCount) return;
  throw badData(
    `the first line has numbers (${listed(header)}), but it must name the columns`,
    file,
    'write a header row, as pandas.DataFrame.to_csv does by default',
  );
}
