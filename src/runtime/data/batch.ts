/** Stacks rows into the tensors of one batch. */

import { badData, badOption, didYouMean } from '../../errors.ts';
import { elementCount, type NumericArray } from '../../formats/rawTensor.ts';
import { convert, type ElementType, newArray } from './convert.ts';
import type { Dataset, Field, Row, RowValue } from './dataset.ts';
import { beyond } from './tables.ts';

export interface BatchOptions {
  /** The padding of short rows, by name; 0 for other inputs. */
  readonly pad?: Readonly<Record<string, number>> | undefined;
  /** The padding of short integer labels. Default -100. */
  readonly ignoreIndex?: number | undefined;
  /** The padding of short float labels. Default 0. */
  readonly ignoreValue?: number | undefined;
  /** The number of rows that the batch is padded to: with copies of the last one, whose labels are ignored. */
  readonly rows?: number | undefined;
  /** Open axes are truncated to this size. */
  readonly maxLength?: number | undefined;
}

export interface BatchTensor {
  readonly type: ElementType;
  readonly dims: readonly number[];
  /** In C order; float16 as bit patterns, bool as bytes, int64 as bigint. */
  readonly data: NumericArray;
}

/**
 * The rows of `indices` as one tensor per field, [indices.length or more, ...row]. An open axis gets the size of the
 * longest row of the batch, or the size that the graphs fix. Errors: BAD_OPTION for a pad value of an unknown name or
 * out of its type's range; BAD_DATA from reading a row.
 */
export function batch(
  dataset: Dataset,
  indices: ArrayLike<number>,
  options: BatchOptions = {},
): Record<string, BatchTensor> {
  checkOptions(dataset.fields, options);
  const rows: Row[] = Array.from(indices, (index) => dataset.row(index));
  const columns = dataset.fields.map((field) => {
    const values = rows.map((row) => {
      const value = row.get(field.name);
      if (value === undefined) throw badData(`a row lacks "${field.name}"`, dataset.file);
      return value;
    });
    return { field, values };
  });
  // Rows that are all empty get one entry of padding, as beside a longer row: operators refuse tensors without
  // elements.
  const isEmpty = columns.every(({ field, values }) => field.isLabels || values.every((v) => v.shape.includes(0)));
  const tensors = columns.map(({ field, values }) => {
    const stacked = stack(field, values, { ...options, least: Number(isEmpty) });
    return [field.name, placed(field, stacked, dataset.file)];
  });
  return Object.fromEntries(tensors);
}

/**
 * The longest open axis of each row, after truncation: rows of one length need no padding. Errors: BAD_DATA from
 * reading a row.
 */
export function rowLengths(dataset: Dataset, { maxLength }: BatchOptions = {}): Uint32Array {
  const lengths = new Uint32Array(dataset.rows);
  for (let i = 0; i < lengths.length; i++) {
    const row = dataset.row(i);
    const open = dataset.fields.flatMap(({ name, shape }) =>
      shape.map((dim, axis) => (typeof dim === 'number' ? 0 : (row.get(name)?.shape[axis] ?? 0))),
    );
    const longest = Math.max(0, ...open);
    lengths[i] = Math.min(longest, maxLength ?? longest);
  }
  return lengths;
}

/** @param least the size that an open axis has at least. */
function stack(
  field: Field,
  given: readonly RowValue[],
  { least, ...options }: BatchOptions & { readonly least: number },
): BatchTensor {
  const values = given.map((value) => cut(field, value, options.maxLength));
  const shape = field.shape.map((dim, axis) => {
    const fixed = field.fixed?.[axis];
    if (typeof dim === 'number') return dim;
    if (typeof fixed === 'number') return fixed;
    const longest = values.reduce((most, value) => Math.max(most, value.shape[axis] ?? 0), least);
    return Math.min(longest, options.maxLength ?? longest);
  });
  const size = shape.reduce((a, b) => a * b, 1);
  const rows = Math.max(values.length, options.rows ?? 0);
  const data = newArray(field.type, rows * size);
  const ragged = values.some((value) => value.shape.some((length, axis) => length < (shape[axis] ?? 0)));
  if (ragged) fill(data, padding(field, options));
  for (const [i, value] of values.entries()) copyBlock(data, i * size, shape, value.data, 0, value.shape, 0);
  const used = values.length * size;
  // A copy of a row is always valid input for the model.
  if (field.isLabels) fill(data.subarray(used), element(field, ignored(field, options)));
  else for (let at = used; at < data.length; at += size) copyRun(data, at, data, used - size, size);
  return { type: field.type, dims: [rows, ...shape], data };
}

/** A batch with its rows along the axis of the field. Errors: BAD_DATA if rows of a field without one differ. */
function placed({ name, batchAxis = 0 }: Field, stacked: BatchTensor, file: string): BatchTensor {
  if (batchAxis === 0) return stacked;
  const { type, dims: [rows = 0, ...shape], data } = stacked; // biome-ignore format: one tensor
  if (batchAxis === null) {
    const size = rows === 0 ? 0 : data.length / rows;
    const one = data.slice(0, size);
    if (data.some((value, i) => !Object.is(value, one[i % size])))
      throw badData(`rows of one batch have different values of "${name}", which has no batch axis`, file, apart);
    return { type, dims: shape, data: one };
  }
  const outer = shape.slice(0, batchAxis).reduce((a, b) => a * b, 1);
  const inner = shape.slice(batchAxis).reduce((a, b) => a * b, 1);
  const moved = newArray(type, data.length);
  for (let row = 0; row < rows; row++)
    for (let i = 0; i < outer; i++) copyRun(moved, (i * rows + row) * inner, data, (row * outer + i) * inner, inner);
  return { type, dims: [...shape.slice(0, batchAxis), rows, ...shape.slice(batchAxis)], data: moved };
}

const apart = 'use --batch-size 1; with --grad-accum N a step has the gradient of N rows';

/** The row truncated to the maximum length, if that is below a fixed one. */
function cut({ type, shape, fixed }: Field, value: RowValue, most = Number.POSITIVE_INFINITY): RowValue {
  const isLong = (length: number, axis: number): boolean =>
    typeof shape[axis] !== 'number' && typeof fixed?.[axis] === 'number' && length > most;
  if (!value.shape.some(isLong)) return value;
  const kept = value.shape.map((length, axis) => (isLong(length, axis) ? most : length));
  const data = newArray(type, elementCount(kept) ?? 0);
  copyBlock(data, 0, kept, value.data, 0, value.shape, 0);
  return { shape: kept, data };
}

/** The pad value as an element. */
const padding = (field: Field, options: BatchOptions): number | bigint =>
  element(field, options.pad?.[field.name] ?? (field.isLabels ? ignored(field, options) : 0));

/** The ignored label; labels of a float type have no ignore index. */
const ignored = ({ type }: Field, { ignoreIndex = -100, ignoreValue = 0 }: BatchOptions): number =>
  /^u?int/.test(type) ? ignoreIndex : ignoreValue;

function element(field: Field, value: number): number | bigint {
  const fail = (reason: string): Error => badOption(`the pad value of "${field.name}": ${reason}`);
  return convert(field.type, [value], fail)[0] ?? 0;
}

function fill(data: NumericArray, value: number | bigint): void {
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) data.fill(BigInt(value));
  else data.fill(Number(value));
}

/** Copies the intersection of both blocks; whole runs at a time if the inner axes are equal. */
function copyBlock(
  to: NumericArray,
  toStart: number,
  toShape: readonly number[],
  from: NumericArray,
  fromStart: number,
  fromShape: readonly number[],
  axis: number,
): void {
  const toInner = toShape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const fromInner = fromShape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const count = axis < toShape.length ? Math.min(toShape[axis] ?? 0, fromShape[axis] ?? 0) : 1;
  const equal = toShape.slice(axis + 1).every((length, i) => length === fromShape[axis + 1 + i]);
  if (equal) {
    copyRun(to, toStart, from, fromStart, count * toInner);
    return;
  }
  for (let i = 0; i < count; i++) {
    copyBlock(to, toStart + i * toInner, toShape, from, fromStart + i * fromInner, fromShape, axis + 1);
  }
}

function copyRun(to: NumericArray, toStart: number, from: NumericArray, fromStart: number, length: number): void {
  const part = from.subarray(fromStart, fromStart + length);
  const toBig = to instanceof BigInt64Array || to instanceof BigUint64Array;
  if (part instanceof BigInt64Array || part instanceof BigUint64Array) {
    if (toBig) to.set(part, toStart);
  } else if (!toBig) to.set(part, toStart);
}

function checkOptions(fields: readonly Field[], { pad, maxLength }: BatchOptions): void {
  const names = fields.map((field) => field.name);
  for (const name of Object.keys(pad ?? {})) {
    if (!names.includes(name)) {
      const near = didYouMean(name, names) || `; there are ${names.map((n) => `"${n}"`).join(', ')}`;
      throw badOption(`there is no input "${name}" to pad${near}`);
    }
  }
  for (const { name, tables = [] } of fields) {
    const value = pad?.[name];
    const reason = value === undefined ? undefined : tables.map((t) => beyond(t, value)).find((r) => r !== undefined);
    if (reason !== undefined) throw badOption(`--pad ${name}=${value}: ${reason}`);
  }
  if (maxLength !== undefined && !(Number.isInteger(maxLength) && maxLength > 0)) {
    throw badOption(`the maximum length must be a positive integer, not ${maxLength}`);
  }
}
