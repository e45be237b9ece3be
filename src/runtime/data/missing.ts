/** Inputs that a data file lacks and that follow from another one: masks, positions, the labels of a language model. */

import type { LengthLimit } from '../../graph/tables.ts';
import { convert } from './convert.ts';
import type { Dataset, Field, Missing, RowValue } from './dataset.ts';

/** The fields that a file has, and those without a default; with the limits that hold beside the others. */
export function fieldsThere(fields: readonly Field[], has: (field: Field) => boolean): Field[] {
  const there = fields.filter((field) => field.missing === undefined || has(field));
  const applies = ({ unless }: LengthLimit): boolean => !there.some(({ name }) => name === unless);
  return there.map((f) => (f.lengths?.every(applies) === false ? { ...f, lengths: f.lengths.filter(applies) } : f));
}

/** The dataset with every field in every row. @param ignoreIndex the label of a masked token. */
export function completed(dataset: Dataset, ignoreIndex: number): Dataset {
  const absent = dataset.fields.filter((f) => f.missing !== undefined);
  if (absent.length === 0) return dataset;
  // Masks come first, because other fields are computed from them.
  const order = [...absent].sort((a, b) => rank(a) - rank(b));
  const masks = absent.filter((f) => f.missing?.value === 'ones');
  return {
    ...dataset,
    row(index) {
      const row = new Map(dataset.row(index));
      for (const field of order) if (!row.has(field.name)) fill(row, field, masks, ignoreIndex);
      return row;
    },
  };
}

const rank = (field: Field): number => Number(field.missing?.value !== 'ones');

function fill(row: Map<string, RowValue>, field: Field, masks: readonly Field[], ignoreIndex: number): void {
  const { missing, type } = field;
  const like = missing === undefined ? undefined : row.get(missing.like);
  if (missing === undefined || like === undefined) return;
  const length = like.shape[0] ?? 0;
  const mask = masks.find((m) => m.missing?.like === missing.like && row.get(m.name)?.shape[0] === length);
  const kept = mask === undefined ? undefined : row.get(mask.name)?.data;
  const isKept = (i: number): boolean => kept === undefined || Number(kept[i]) !== 0;
  const numbers = (list: ArrayLike<unknown>): RowValue => ({
    shape: [length],
    data: convert(type, list, (reason) => new Error(`"${field.name}": ${reason}`)),
  });
  const each = (value: (i: number) => number | bigint): ArrayLike<unknown> =>
    Array.from({ length }, (_, i) => value(i));
  row.set(field.name, numbers(each(elementOf(missing.value, like, isKept, ignoreIndex))));
}

function elementOf(
  value: Missing['value'],
  like: RowValue,
  isKept: (i: number) => boolean,
  ignoreIndex: number,
): (i: number) => number | bigint {
  switch (value) {
    case 'ones':
      return () => 1;
    case 'zeros':
      return () => 0;
    case 'copy':
      return (i) => (isKept(i) ? (like.data[i] ?? 0) : ignoreIndex);
    case 'positions': {
      let count = -1;
      return (i) => {
        if (!isKept(i)) return 1;
        count += 1;
        return count;
      };
    }
  }
}
