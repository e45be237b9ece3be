/** Intervals of numbers, and the sum along an axis, under the operations of arithmetic. */

export interface Bounds {
  readonly low: number;
  readonly high: number;
  /** The elements come from an operator that makes probabilities, such as Sigmoid: not only from a Clip to [0, 1]. */
  readonly probable: boolean;
  /** The elements along `axis` have the sum `total`. */
  readonly along?: { readonly axis: number; readonly total: number } | undefined;
}

export const infinity = Number.POSITIVE_INFINITY;
export const anything: Bounds = { low: -infinity, high: infinity, probable: false };
export const between = (low: number, high: number, probable = false): Bounds => ({ low, high, probable });

/** Weights of an average are rounded: their sum may exceed 1 by this much. */
const slack = 1e-4;
/** Whether all elements lie in [0, 1]. */
export const inUnit = ({ low, high }: Bounds): boolean => low >= -1e-6 && high <= 1 + slack;

/** The axis along which probabilities have the sum 1. */
export const simplexAxis = ({ along }: Bounds): number | undefined =>
  along !== undefined && Math.abs(along.total - 1) <= slack ? along.axis : undefined;

/** 0 times an infinite bound is 0: the bound is not reached. */
const times = (a: number, b: number): number => (a === 0 || b === 0 ? 0 : a * b);

export const isConstant = ({ low, high }: Bounds): boolean => low === high;

export function product(a: Bounds, b: Bounds): Bounds {
  const ends = [times(a.low, b.low), times(a.low, b.high), times(a.high, b.low), times(a.high, b.high)];
  const made = between(Math.min(...ends), Math.max(...ends), a.probable || b.probable);
  const [p, c] = isConstant(b) ? [a, b.low] : isConstant(a) ? [b, a.low] : [undefined, 0];
  return p?.along === undefined ? made : { ...made, along: { ...p.along, total: p.along.total * c } };
}

export const reciprocal = ({ low, high, probable }: Bounds): Bounds =>
  low > 0 || high < 0 ? between(1 / high, 1 / low, probable) : low === 0 ? between(1 / high, infinity) : anything;

export function sum(list: readonly Bounds[]): Bounds {
  const made = between(
    list.reduce((n, b) => n + b.low, 0),
    list.reduce((n, b) => n + b.high, 0),
    list.some((b) => b.probable),
  );
  const [first] = list;
  const axis = first?.along?.axis;
  if (axis === undefined || !list.every((b) => b.along?.axis === axis)) return made;
  return { ...made, along: { axis, total: list.reduce((n, b) => n + (b.along?.total ?? 0), 0) } };
}

export const negative = (b: Bounds): Bounds => product(b, between(-1, -1));

/** Bounds that hold for elements of either. */
export function either(list: readonly Bounds[]): Bounds {
  const made = between(
    Math.min(...list.map((b) => b.low)),
    Math.max(...list.map((b) => b.high)),
    list.some((b) => b.probable),
  );
  const [first] = list;
  const same = list.every(({ along }) => along?.axis === first?.along?.axis && along?.total === first?.along?.total);
  return same && first?.along !== undefined ? { ...made, along: first.along } : made;
}
