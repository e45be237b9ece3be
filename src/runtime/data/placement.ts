/** Maps the elements of an input to the columns of a table. */

import { badData } from '../../errors.ts';
import { elementCount } from '../../formats/rawTensor.ts';
import { listed } from './cells.ts';
import { columnOf, type DataOptions, type Field } from './dataset.ts';
import { oneHotReason } from './labels.ts';
import { fieldsThere } from './missing.ts';
import { checkHeader, checkSpread, fixedSizes, sizeText } from './spread.ts';
import { checkSpelling, isIndexName, labelNames, nameCheck } from './stray.ts';

/** The columns of one field, in the order of its elements; without a shape: the one column that has whole values. */
export interface Placement {
  readonly field: Field;
  readonly columns: readonly number[];
  readonly shape?: readonly number[];
}

/** The columns of a table. */
export interface Table {
  readonly file: string;
  readonly header: readonly string[];
  /** Columns that the file declares as an index. */
  readonly index?: readonly number[] | undefined;
  /** Whether a column has whole values, not single elements. */
  readonly holdsAll?: (column: number) => boolean;
}

/**
 * Finds the columns of the fields: by name; numbered, `input[0]`, `input[1]` ...; or all columns but the labels', for
 * the only input. Errors: BAD_DATA, which names a missing column, the number of columns that a field needs, or the
 * columns that belong to none.
 */
export function placementsOf(table: Table, fields: readonly Field[], options: DataOptions = {}): Placement[] {
  const { file, header, holdsAll = () => false } = table;
  checkHeader(header, file);
  const index = positions(header, table.index ?? [], file);
  const names = new Set(index.keys());
  const find = (field: Field): readonly number[] | undefined => byName(field, field.columns, index, file);
  // columnOf throws here, because there is no such column.
  const get = (field: Field): readonly number[] =>
    find(field) ?? [header.indexOf(columnOf(field, names, 'the header', file))];
  const there = fieldsThere(fields, (field) => find(field) !== undefined);
  const inputs = there.filter((field) => !field.isLabels);
  const only = inputs.length === 1 ? inputs[0] : undefined;
  const own = only && find(only);
  // One column with the input's name is the whole input only if the input has one element.
  const isWhole = (columns: readonly number[]): boolean => columns.length === 1 && columns.some(holdsAll);
  const spread = only !== undefined && (own === undefined || (own.length === 1 && !isWhole(own) && !isSingle(only)));
  const taken = new Set(there.flatMap((field) => (field === only && spread ? [] : get(field))));
  const others = spread ? spreadColumns(table, fields, there, taken, options) : [];
  const check = nameCheck(file, fields, there, options);
  const isOwn = (name: string): boolean => taken.has(index.get(name) ?? -1) && /\[\d+\]$/.test(name);
  const isSpread = (name: string): boolean => spread && !fields.some(({ columns }) => columns.includes(name));
  check.check(
    [...names].filter((name) => !isOwn(name) && !isSpread(name)),
    'the header',
  );
  check.finish();
  if (spread) checkSpread(only, { file, header, others }, options);
  return there.map((field) => {
    const columns = field === only && spread ? others : get(field);
    return isWhole(columns) ? { field, columns } : { field, columns, shape: shapeFor(field, columns, table) };
  });
}

/** The position of each name. Columns of an index may repeat a name or lack one. */
function positions(header: readonly string[], unnamed: readonly number[], file: string): Map<string, number> {
  const index = new Map<string, number>();
  for (const [i, name] of header.entries()) {
    if (name === '' && unnamed.includes(i)) continue;
    if (index.has(name))
      throw badData(name === '' ? 'two columns have no name' : `two columns are named "${name}"`, file);
    index.set(name, i);
  }
  return index;
}

/** The columns that fill the only input: all but the labels, an index, and inputs that are not read. */
function spreadColumns(
  { file, header, index = [] }: Table,
  fields: readonly Field[],
  there: readonly Field[],
  taken: ReadonlySet<number>,
  options: DataOptions,
): number[] {
  const { labelColumn, unread = [], onNotice } = options;
  const absent = fields.filter(({ name }) => !there.some((field) => field.name === name));
  const leftOut: string[] = [];
  const others = [...header.keys()].filter((i) => {
    const name = header[i] ?? '';
    if (taken.has(i)) return false;
    const why =
      index.includes(i) || isIndexName(name)
        ? 'an index'
        : name === labelColumn || labelNames.includes(name)
          ? 'labels'
          : unread.includes(name)
            ? 'an input that is not read'
            : undefined;
    if (why === undefined) checkSpelling(name, absent, 'the header', file);
    // Predictions need no labels.
    else if (why !== 'labels' || there.some((field) => field.isLabels))
      leftOut.push(`column ${name === '' ? i + 1 : `"${name}"`} is left out: ${why}`);
    return why === undefined;
  });
  for (const text of leftOut) onNotice?.(`${file}: ${text}`);
  return others;
}

/**
 * The column `name`, or the columns `name[0]`, `name[1]` ... in the order of their numbers; undefined if there is
 * neither.
 */
function byName(
  { name }: Field,
  candidates: readonly string[],
  index: ReadonlyMap<string, number>,
  file: string,
): number[] | undefined {
  for (const candidate of candidates) {
    const single = index.get(candidate);
    if (single !== undefined) return [single];
    const numbered = new Map<number, number>();
    for (const [column, i] of index) {
      if (!column.startsWith(`${candidate}[`)) continue;
      const number = /^\[(\d+)\]$/.exec(column.slice(candidate.length))?.[1];
      if (number === undefined) continue;
      if (numbered.has(Number(number))) throw badData(`two columns are "${candidate}[${Number(number)}]"`, file);
      numbered.set(Number(number), i);
    }
    if (numbered.size === 0) continue;
    return Array.from({ length: numbered.size }, (_, i) => {
      const column = numbered.get(i);
      if (column === undefined)
        throw badData(`"${name}" has ${numbered.size} columns, but "${candidate}[${i}]" is missing`, file);
      return column;
    });
  }
  return undefined;
}

function isSingle(field: Field): boolean {
  return field.shape.every((dim) => dim === 1);
}

/** The shape of a row that columns fill: at most one axis of the field may be open. */
function shapeFor(field: Field, columns: readonly number[], { file, header }: Table): number[] {
  const count = columns.length;
  const known = fixedSizes(field);
  const product = elementCount(known) ?? 0;
  const open = field.shape.length - known.length;
  const size = open === 1 && product > 0 ? count / product : open;
  if (open > 1) throw badData(`"${field.name}" has several open axes, which columns cannot fill; use .jsonl`, file);
  const shape = field.shape.map((dim) => (typeof dim === 'number' ? dim : size));
  if (elementCount(shape) !== count) {
    const there = listed(columns.map((i) => header[i] ?? ''));
    const hint = oneHotReason(field.rule, field.shape.length, [...field.shape.map(() => 1), count]);
    throw badData(`"${field.name}" needs ${sizeText(field)} columns, but the file has ${count}: ${there}${hint}`, file);
  }
  return shape;
}
