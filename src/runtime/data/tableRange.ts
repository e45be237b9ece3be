/** Checks ids against the tables that the model reads with them. */
import type { NumericArray } from '../../formats/rawTensor.ts';
import type { FailAt } from './convert.ts';

/** A table, and its indices: from `least` to below `entries`. */
export interface TableRange {
  readonly table: string;
  readonly entries: number;
  readonly least: number;
}

/** Refuses indices beyond a table. */
export function checkIndices(range: TableRange, data: NumericArray, fail: FailAt): void {
  for (let i = 0; i < data.length; i++) {
    const reason = beyond(range, Number(data[i]));
    if (reason !== undefined) throw fail(reason, i);
  }
}

/** The reason if a table has no entry of this index. */
export const beyond = ({ table, entries, least }: TableRange, index: number): string | undefined =>
  index >= least && index < entries
    ? undefined
    : `${index} is outside the table "${table}", which has ${entries} entries: values are ${least} to ${entries - 1}`;
