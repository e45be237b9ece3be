/** Checks ids, and lengths of rows, against the tables that the model reads with them. */
import type { NumericArray } from '../../formats/rawTensor.ts';
import type { LengthLimit, TableRange } from '../../graph/tables.ts';
import type { FailAt } from './convert.ts';

/** The same for the axes of a row; what is along the axis of rows is left out. */
export function withoutAxis<T extends { readonly axis: number }>(list: readonly T[], batchAxis: number | null): T[] {
  const isBefore = (axis: number): boolean => batchAxis !== null && batchAxis < axis;
  return list.flatMap((t) => (t.axis === batchAxis ? [] : [{ ...t, axis: t.axis - Number(isBefore(t.axis)) }]));
}

export const rangesOfRows = (ranges: readonly TableRange[], batchAxis: number | null): TableRange[] =>
  ranges.flatMap((range) => {
    const { part } = range;
    return part === undefined ? [range] : withoutAxis([part], batchAxis).map((p) => ({ ...range, part: p }));
  });

/** Refuses indices beyond a table. @param shape that of the row. */
export function checkIndices(range: TableRange, shape: readonly number[], data: NumericArray, fail: FailAt): void {
  const isIndex = indicesOf(range, shape);
  for (let i = 0; i < data.length; i++) {
    const reason = isIndex(i) ? beyond(range, Number(data[i])) : undefined;
    if (reason !== undefined) throw fail(reason, i);
  }
}

/** Whether the element at a position of the row is an index of the table. */
function indicesOf({ part }: TableRange, shape: readonly number[]): (i: number) => boolean {
  if (part === undefined) return () => true;
  const { axis, from, to } = part;
  const length = shape[axis] ?? 0;
  const inner = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const fromStart = (n: number): number => (n < 0 ? n + length : n);
  const [first, end] = [fromStart(from), to === undefined ? length : fromStart(to)];
  return (i) => {
    const at = Math.floor(i / inner) % length;
    return at >= first && at < end;
  };
}

/** The reason if a table has no entry of this index. */
export const beyond = ({ table, entries, least }: TableRange, index: number): string | undefined =>
  index >= least && index < entries
    ? undefined
    : `${index} is outside the table "${table}", which has ${entries} entries: values are ${least} to ${entries - 1}`;

/** Refuses a row for whose positions a table has no entries. */
export function checkLength(limit: LengthLimit, shape: readonly number[], data: NumericArray, fail: FailAt): void {
  const { table, axis, most, except } = limit;
  const all = shape[axis] ?? 0;
  if (all <= most) return;
  const counted = except === undefined ? all : Array.from(data, Number).filter((n) => n !== except).length;
  if (counted <= most) return;
  const those = except === undefined ? '' : ` other than ${except}`;
  throw fail(
    `it has ${counted} entries${those}, but the model has positions for ${most} (table "${table}")`,
    undefined,
    truncates(most),
  );
}

/** The hint for a row that is too long. */
export const truncates = (most: number): string => `use --max-length ${most}, which truncates longer rows`;
