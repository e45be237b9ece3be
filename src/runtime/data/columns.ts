/** Files of whole columns, .npz and .safetensors: one array per input, whose first axis counts the rows. */

import { badData } from '../../errors.ts';
import { readNpz } from '../../formats/npz.ts';
import { elementCount, elements, type RawDtype, rawDtypes } from '../../formats/rawTensor.ts';
import { openSafetensors } from '../../formats/safetensors.ts';
import { convert, type ElementType } from './convert.ts';
import {
  checkElements,
  checkShape,
  checkSymbols,
  columnOf,
  type Dataset,
  elementName,
  type Field,
  type Row,
  type RowValue,
} from './dataset.ts';
import { fieldsThere } from './missing.ts';

interface Column {
  readonly dtype: RawDtype;
  readonly shape: readonly number[];
  /** Reads `length` bytes of the column's data from `offset`. */
  bytes(offset: number, length: number): Uint8Array;
}

/** An .npz file, in memory. Errors: FILE_NOT_FOUND, BAD_DATA. */
export function openNpz(file: string, fields: readonly Field[]): Dataset {
  const names = new Set<string>();
  const wanted = new Set(fields.flatMap((field) => field.columns));
  const arrays = readNpz(file, (name) => {
    names.add(name);
    return wanted.has(name);
  });
  const column = (name: string): Column | undefined => {
    const array = arrays.get(name);
    return array && { ...array, bytes: (offset, length) => array.data.subarray(offset, offset + length) };
  };
  return columnsDataset(file, fields, names, column, () => {});
}

/** A .safetensors file; rows are read from the file on demand. Errors: FILE_NOT_FOUND, BAD_SAFETENSORS, BAD_DATA. */
export function openSafetensorsData(file: string, fields: readonly Field[]): Dataset {
  const source = openSafetensors(file);
  const column = (name: string): Column | undefined => {
    const range = source.tensors.get(name);
    return range && { ...range, bytes: (offset, length) => source.readBytes(range.start + offset, length) };
  };
  try {
    return columnsDataset(file, fields, new Set(source.tensors.keys()), column, source.close);
  } catch (error) {
    source.close();
    throw error;
  }
}

function columnsDataset(
  file: string,
  fields: readonly Field[],
  names: ReadonlySet<string>,
  column: (name: string) => Column | undefined,
  close: () => void,
): Dataset {
  let rows: { count: number; name: string } | undefined;
  const readers = fieldsThere(fields, (name) => names.has(name)).map((field) => {
    const name = columnOf(field, names, 'the file', file);
    const { dtype, shape, bytes } = column(name) ?? { dtype: 'F32', shape: [], bytes: () => new Uint8Array() };
    // An array without an axis of rows is the value of all rows.
    const isOnce = field.batchAxis === null && shape.length === field.shape.length;
    const [count, rest] = isOnce ? [undefined, shape] : [shape[0], shape.slice(1)];
    if (count === undefined && !isOnce)
      throw badData(`"${name}" is a scalar; its first axis must count the rows`, file);
    checkShape(field, rest, (reason) => badData(`each row of ${reason}`, file));
    if (count !== undefined) rows ??= { count, name };
    if (count !== undefined && rows?.count !== count) {
      throw badData(`"${rows?.name}" has ${rows?.count} rows, but "${name}" has ${count}`, file);
    }
    const size = (elementCount(rest) ?? 0) * rawDtypes[dtype];
    const read = (index: number): RowValue & { check(): void } => {
      const values = elements({ dtype, data: bytes(isOnce ? 0 : index * size, size) });
      const fail = (reason: string, i?: number): Error =>
        badData(`row ${index} of ${elementName(name, rest, i)}: ${reason}`, file);
      const data = isSame(dtype, field.type) ? values : convert(field.type, values, fail);
      return { shape: rest, data, check: () => checkElements(field, data, fail) };
    };
    return { name: field.name, shape: rest, read };
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

function isSame(dtype: RawDtype, type: ElementType): boolean {
  return sameType[dtype] === type;
}
