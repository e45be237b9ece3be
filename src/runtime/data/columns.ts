/** Files of whole columns, .npz and .safetensors: one array per input, whose first axis counts the rows. */

import { badData } from '../../errors.ts';
import type { NpyTexts } from '../../formats/npy.ts';
import { readNpz } from '../../formats/npz.ts';
import {
  elementCount,
  elements,
  type NumericArray,
  type RawDtype,
  type RawTensor,
  rawDtypes,
} from '../../formats/rawTensor.ts';
import { openSafetensors } from '../../formats/safetensors.ts';
import { convert, type ElementType } from './convert.ts';
import {
  checkElements,
  checkShape,
  checkSymbols,
  columnOf,
  type DataOptions,
  type Dataset,
  elementName,
  type Field,
  labelValues,
  type Row,
  type RowValue,
} from './dataset.ts';
import { fieldsThere } from './missing.ts';
import { nameCheck } from './stray.ts';

interface Column {
  readonly shape: readonly number[];
  /** Absent for strings. */
  readonly dtype?: RawDtype;
  /** Reads `length` elements from the element `start`. */
  read(start: number, length: number): NumericArray | readonly string[];
}

/** A column of numbers. @param bytes reads `length` bytes of its data from `offset`. */
function numbers(
  { dtype, shape }: Pick<RawTensor, 'dtype' | 'shape'>,
  bytes: (offset: number, length: number) => Uint8Array,
): Column {
  const size = rawDtypes[dtype];
  return { dtype, shape, read: (start, length) => elements({ dtype, data: bytes(start * size, length * size) }) };
}

/** An .npz file, in memory. Errors: FILE_NOT_FOUND, BAD_DATA. */
export function openNpz(file: string, fields: readonly Field[], options: DataOptions): Dataset {
  const names = new Set<string>();
  const wanted = new Set(fields.flatMap((field) => field.columns));
  const texts = new Map<string, NpyTexts>();
  const isWanted = (name: string): boolean => {
    names.add(name);
    return wanted.has(name);
  };
  const arrays = readNpz(file, isWanted, texts);
  const column = (name: string): Column | undefined => {
    const [array, strings] = [arrays.get(name), texts.get(name)];
    if (array !== undefined) return numbers(array, (offset, length) => array.data.subarray(offset, offset + length));
    return strings && { shape: strings.shape, read: (start, length) => strings.texts.slice(start, start + length) };
  };
  return columnsDataset({ file, fields, names, column, close() {} }, options);
}

/** A .safetensors file; rows are read from the file on demand. Errors: FILE_NOT_FOUND, BAD_SAFETENSORS, BAD_DATA. */
export function openSafetensorsData(file: string, fields: readonly Field[], options: DataOptions): Dataset {
  const source = openSafetensors(file);
  const column = (name: string): Column | undefined => {
    const range = source.tensors.get(name);
    return range && numbers(range, (offset, length) => source.readBytes(range.start + offset, length));
  };
  try {
    return columnsDataset(
      { file, fields, names: new Set(source.tensors.keys()), column, close: source.close },
      options,
    );
  } catch (error) {
    source.close();
    throw error;
  }
}

interface Columns {
  readonly file: string;
  readonly fields: readonly Field[];
  readonly names: ReadonlySet<string>;
  column(name: string): Column | undefined;
  close(): void;
}

function columnsDataset({ file, fields, names, column, close }: Columns, options: DataOptions): Dataset {
  let rows: { count: number; name: string } | undefined;
  const there = fieldsThere(fields, ({ columns }) => columns.some((name) => names.has(name)));
  const check = nameCheck(file, fields, there, options);
  check.check(names, 'the file');
  check.finish();
  const readers = there.map((field) => {
    const name = columnOf(field, names, 'the file', file);
    const { dtype, shape, read: readElements } = column(name) ?? { shape: [], read: () => [] };
    // An array without an axis of rows is the value of all rows.
    const isOnce = field.batchAxis === null && shape.length === field.shape.length;
    const [count, rest] = isOnce ? [undefined, shape] : [shape[0], shape.slice(1)];
    if (count === undefined && !isOnce)
      throw badData(`"${name}" is a scalar; its first axis must count the rows`, file);
    const rowShape = checkShape(field, rest, (reason, hint) => badData(`each row of ${reason}`, file, hint));
    if (count !== undefined) rows ??= { count, name };
    if (count !== undefined && rows?.count !== count) {
      throw badData(`"${rows?.name}" has ${rows?.count} rows, but "${name}" has ${count}`, file);
    }
    const size = elementCount(rest) ?? 0;
    const read = (index: number): RowValue & { check(): void } => {
      const values = readElements(isOnce ? 0 : index * size, size);
      const fail = (reason: string, i?: number, hint?: string): Error =>
        badData(`row ${index} of ${elementName(name, rest, i)}: ${reason}`, file, hint);
      const isReady = ArrayBuffer.isView(values) && isSame(dtype, field.type) && field.classes?.hasNames !== true;
      const data = isReady ? values : convert(field.type, labelValues(field, values, fail), fail);
      return { shape: rowShape, data, check: () => checkElements(field, { shape: rowShape, data }, fail) };
    };
    return { name: field.name, shape: rowShape, read };
  });
  const count = rows?.count ?? Math.min(readers.length, 1);
  const shapes = new Map(readers.map(({ name, shape }) => [name, { shape }]));
  checkSymbols(fields, shapes, (reason) => badData(reason, file));
  // Checks all values now, so that an error does not appear hours later in the middle of an epoch.
  for (const { read } of readers) {
    for (let i = 0; i < count; i++) read(i).check();
  }
  return {
    file,
    rows: count,
    fields,
    row(index): Row {
      if (!Number.isInteger(index) || index < 0 || index >= count) throw badData(`there is no row ${index}`, file);
      return new Map(
        readers.map(({ name, read }) => {
          const { shape, data } = read(index);
          return [name, { shape, data }];
        }),
      );
    },
    close,
  };
}

const sameType: Readonly<Partial<Record<RawDtype, ElementType>>> = {
  F32: 'float32',
  F64: 'float64',
  I8: 'int8',
  I16: 'int16',
  I32: 'int32',
  I64: 'int64',
  U8: 'uint8',
  U16: 'uint16',
  U32: 'uint32',
  U64: 'uint64',
};

function isSame(dtype: RawDtype | undefined, type: ElementType): boolean {
  return dtype !== undefined && sameType[dtype] === type;
}
