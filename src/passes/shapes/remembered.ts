import type { Dim } from '../../graph/model.ts';

type Known = number | string;

/** Memoizes a function of two known dims: a graph needs the same few results many times. */
export function remembered(f: (a: Known, b: Known) => Dim): (a: Known, b: Known) => Dim {
  const rows = new Map<Known, Map<Known, Dim>>();
  return (a, b) => {
    const row = rows.get(a) ?? new Map<Known, Dim>();
    rows.set(a, row);
    const known = row.get(b);
    if (known !== undefined) return known;
    const result = f(a, b);
    row.set(b, result);
    return result;
  };
}
