/** Rows as objects: input name -> nested array. The form of a line of .jsonl, and of rows passed to the library. */

import { types } from 'node:util';
import { badData } from '../../errors.ts';
import {
  checkedValue,
  checkShape,
  checkSymbols,
  columnOf,
  type DataOptions,
  type DataSpec,
  type Dataset,
  elementName,
  type Field,
  fieldsOf,
  finishLabels,
  type Row,
  type RowValue,
} from './dataset.ts';
import { completed, fieldsThere } from './missing.ts';
import { type NameCheck, nameCheck } from './stray.ts';

/** A row: input name -> number or nested array of numbers (typed arrays for the innermost axis), and the labels. */
export type PlainRow = object;

/**
 * Rows in memory as a dataset; every value is checked and converted immediately. Errors: BAD_DATA, which names the row.
 */
export function rowsDataset(rows: Iterable<PlainRow>, spec: DataSpec, options: DataOptions = {}): Dataset {
  const name = 'rows';
  const fields = fieldsOf(spec, options);
  let there: readonly Field[] | undefined;
  let names: NameCheck | undefined;
  const kept = Array.from(rows, (row, i) => {
    there ??= fieldsThere(fields, ({ columns }) => columns.some((column) => Object.hasOwn(row, column)));
    names ??= nameCheck(name, fields, there, options);
    names.check(Object.keys(row), `row ${i}`);
    return readRow(row, there, `row ${i}`, name);
  });
  if (kept.length === 0) throw badData('there are no rows', name);
  names?.finish();
  finishLabels(fields, name);
  const dataset: Dataset = {
    file: name,
    rows: kept.length,
    fields,
    row(index) {
      const row = kept[index];
      if (row === undefined) throw badData(`there is no row ${index}`, name);
      return row;
    },
    close() {},
  };
  return completed(dataset, options.ignoreIndex ?? -100);
}

/** Checks one row. @param where the row's name for messages: `line 3`. Errors: BAD_DATA. */
export function readRow(object: object, fields: readonly Field[], where: string, file: string): Row {
  const fail = (reason: string, hint?: string): Error => badData(`${where}: ${reason}`, file, hint);
  const columns = new Map<string, unknown>(Object.entries(object));
  const names = new Set(columns.keys());
  const row = new Map<string, RowValue>();
  for (const field of fields) {
    const column = columnOf(field, names, where, file);
    row.set(field.name, nestedValue(field, columns.get(column), column, fail));
  }
  checkSymbols(fields, row, fail);
  return row;
}

/** Checks a nested array and converts it to the value of a field. @param fail makes the error of the row. */
export function nestedValue(
  field: Field,
  value: unknown,
  column: string,
  fail: (reason: string, hint?: string) => Error,
): RowValue {
  const named = (reason: string): Error => fail(`"${column}": ${reason}`);
  // Labels may have more or fewer axes of size 1 than the field.
  const depth = (field.isLabels ? depthOf(value) : undefined) ?? field.shape.length;
  const { shape: given, values } = flatten(value, field, depth, named);
  const shape = checkShape(field, given, fail);
  return checkedValue(field, shape, values, (reason, i, hint) =>
    fail(`${elementName(column, given, i)}: ${reason}`, hint),
  );
}

/** The number of nested arrays around the first leaf; undefined if one of them is empty. */
function depthOf(value: unknown): number | undefined {
  let depth = 0;
  let item = value;
  for (; Array.isArray(item) || types.isTypedArray(item); depth++) {
    const array: ArrayLike<unknown> = item;
    if (array.length === 0) return undefined;
    item = array[0];
  }
  return depth;
}

/** A nested array as its shape and its leaves in C order; all arrays of a level must have one length. */
function flatten(
  value: unknown,
  field: Field,
  depth: number,
  fail: (reason: string) => Error,
): { shape: number[]; values: readonly unknown[] } {
  const shape: number[] = [];
  let level: readonly unknown[] = [value];
  for (let axis = 0; axis < depth; axis++) {
    const next: unknown[] = [];
    let length: number | undefined;
    for (const given of level) {
      const item = types.isTypedArray(given) ? Array.from<unknown>(given) : given;
      if (!Array.isArray(item)) throw fail(`it is nested ${axis} deep, not ${depth}`);
      length ??= item.length;
      if (item.length !== length) throw fail(`arrays of ${length} and of ${item.length} elements are in one array`);
      for (const inner of item) next.push(inner);
    }
    const dim = field.shape[axis];
    // An empty array does not determine the inner dims.
    shape.push(length ?? (typeof dim === 'number' ? dim : 0));
    level = next;
  }
  if (level.some((leaf) => Array.isArray(leaf) || types.isTypedArray(leaf)))
    throw fail(`it is nested deeper than ${depth}`);
  return { shape, values: level };
}
