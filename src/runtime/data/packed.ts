/** Stores rows in memory column by column: a million rows are a few arrays, not millions of objects. */

import { badData } from '../../errors.ts';
import { bytesOf } from '../../formats/rawTensor.ts';
import { type ElementType, newArray } from './convert.ts';
import type { Dataset, Field, Row, RowValue } from './dataset.ts';

export interface PackedRows {
  /** Adds a row with a value for each of the packed fields. */
  add(row: Row): void;
  /** The added rows as a dataset. @param fields includes those with a default. */
  dataset(file: string, fields: readonly Field[]): Dataset;
}

export function packedRows(fields: readonly Field[]): PackedRows {
  const columns = fields.map(({ name, type, shape }) => ({ name, column: packedColumn(type, shape.length) }));
  let count = 0;
  return {
    add(row) {
      for (const { name, column } of columns) {
        const value = row.get(name);
        if (value !== undefined) column.add(value);
      }
      count++;
    },
    dataset: (file, all) => ({
      file,
      rows: count,
      fields: all,
      row(index) {
        if (!Number.isInteger(index) || index < 0 || index >= count) throw badData(`there is no row ${index}`, file);
        return new Map(columns.map(({ name, column }) => [name, column.at(index)]));
      },
      close() {},
    }),
  };
}

/** Values of one type and rank, one after another in one array. */
function packedColumn(type: ElementType, rank: number): { add(value: RowValue): void; at(index: number): RowValue } {
  let all = newArray(type, 1024);
  let used = 0;
  const starts: number[] = [];
  const dims: number[] = [];
  return {
    add({ shape, data }) {
      if (used + data.length > all.length) {
        const larger = newArray(type, Math.max(2 * all.length, used + data.length));
        bytesOf(larger).set(bytesOf(all));
        all = larger;
      }
      bytesOf(all).set(bytesOf(data), used * all.BYTES_PER_ELEMENT);
      starts.push(used);
      dims.push(...shape);
      used += data.length;
    },
    at(index) {
      const shape = dims.slice(index * rank, (index + 1) * rank);
      const start = starts[index] ?? 0;
      return { shape, data: all.subarray(start, start + shape.reduce((a, b) => a * b, 1)) };
    },
  };
}
