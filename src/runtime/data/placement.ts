/** Maps the elements of an input to the columns of a table. */

import { badData } from '../../errors.ts';
import { elementCount } from '../../formats/rawTensor.ts';
import { columnOf, type Field } from './dataset.ts';

/** The columns of one field, in the order of its elements; without a shape: the one column that has whole values. */
export interface Placement {
  readonly field: Field;
  readonly columns: readonly number[];
  readonly shape?: readonly number[];
}

/**
 * Finds the columns of the fields: by name; numbered, `input[0]`, `input[1]` ...; or all columns but the labels', for
 * the only input.
 * @param holdsAll whether a column has whole values, not single elements. Errors: BAD_DATA, which names a missing
 * column, or the number of columns that a field needs.
 */
export function placementsOf(
  header: readonly string[],
  fields: readonly Field[],
  file: string,
  holdsAll: (column: number) => boolean = () => false,
): Placement[] {
  const index = new Map<string, number>();
  for (const [i, name] of header.entries()) {
    if (index.has(name)) throw badData(`two columns are named "${name}"`, file);
    index.set(name, i);
  }
  const names = new Set(header);
  const find = (field: Field): readonly number[] | undefined => byName(field, field.columns, index, file);
  // columnOf throws here, because there is no such column.
  const get = (field: Field): readonly number[] =>
    find(field) ?? [header.indexOf(columnOf(field, names, 'the header', file))];
  const there = fields.filter((field) => field.missing === undefined || find(field) !== undefined);
  const labels = there.find((field) => field.isLabels);
  const labelColumns = labels && get(labels);
  const inputs = there.filter((field) => !field.isLabels);
  const only = inputs.length === 1 ? inputs[0] : undefined;
  const own = only && find(only);
  // One column with the input's name is the whole input only if the input has one element.
  const isWhole = (columns: readonly number[]): boolean => columns.length === 1 && columns.some(holdsAll);
  const spread = only !== undefined && (own === undefined || (own.length === 1 && !isWhole(own) && !isSingle(only)));
  // Without labels (a prediction), a label column is still not an input.
  const skipped = new Set(labelColumns ?? [index.get('labels') ?? index.get('label') ?? -1]);
  const others = header.map((_, i) => i).filter((i) => !skipped.has(i));

  return there.map((field) => {
    const columns = field.isLabels ? (labelColumns ?? []) : spread ? others : get(field);
    return isWhole(columns) ? { field, columns } : { field, columns, shape: shapeFor(field, columns.length, file) };
  });
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
      if (number !== undefined) numbered.set(Number(number), i);
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

function fixed(field: Field): number[] {
  return field.shape.filter((dim) => typeof dim === 'number');
}

/** The shape of a row that `count` columns fill: at most one axis of the field may be open. */
function shapeFor(field: Field, count: number, file: string): number[] {
  const known = fixed(field);
  const product = elementCount(known) ?? 0;
  const open = field.shape.length - known.length;
  const size = open === 1 && product > 0 ? count / product : open;
  if (open > 1) throw badData(`"${field.name}" has several open axes, which columns cannot fill; use .jsonl`, file);
  const shape = field.shape.map((dim) => (typeof dim === 'number' ? dim : size));
  if (elementCount(shape) !== count) {
    const wanted = open === 1 ? `a multiple of ${product}` : product;
    throw badData(`"${field.name}" needs ${wanted} columns, but the file has ${count}`, file);
  }
  return shape;
}
