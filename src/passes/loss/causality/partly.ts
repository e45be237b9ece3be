/**
 * Tensors whose elements are known in part: the masks of attention are, the scores they are added to are not. An
 * unknown element is NaN, and finite; `stored` has 1 for an axis along which all elements are equal.
 */
import { elementCount } from '../../../graph/tensor.ts';
import { broadcast, strides } from '../../normalize/fold/small.ts';

export interface Partly {
  readonly dims: readonly number[];
  readonly stored: readonly number[];
  readonly values: Float64Array;
}

/** The maximum number of elements that are computed: a mask of sequences 2048 long. */
export const most = 2 ** 22;

/** Scores at or below it have no weight after a Softmax: exporters mask with -10000, the least half, or -inf. */
export const maskedBelow = -9000;

export const known = (dims: readonly number[], values: ArrayLike<number>): Partly | undefined =>
  elementCount(dims) > most ? undefined : { dims, stored: dims, values: Float64Array.from(values) };

export const filled = (dims: readonly number[], value: number): Partly => ({
  dims,
  stored: dims.map(() => 1),
  values: Float64Array.of(value),
});

export const unknown = (dims: readonly number[]): Partly => filled(dims, Number.NaN);

const isUniform = (x: Partly): boolean => x.values.length === 1;

/** Applies f to the elements of operands that broadcast. */
export function elementwise(xs: readonly Partly[], f: (...args: number[]) => number): Partly | undefined {
  const dims = broadcast(xs.map((x) => x.dims));
  const stored = dims && broadcast(xs.map((x) => x.stored));
  if (dims === undefined || stored === undefined || elementCount(stored) > most) return undefined;
  // An axis of length 0 has no elements, whatever is stored for it.
  if (dims.some((d) => d === 0)) return unknown(dims);
  const values = new Float64Array(elementCount(stored));
  const steps = xs.map((x) => stepsIn(x.stored, stored));
  const args = xs.map(() => 0);
  each(stored, (n, at) => {
    xs.forEach((x, i) => {
      args[i] = x.values[offset(at, steps[i] ?? [])] ?? Number.NaN;
    });
    values[n] = f(...args);
  });
  return { dims, stored, values };
}

/** The step of each axis of `to` in a tensor of dims `from`; 0 where it is broadcast. */
function stepsIn(from: readonly number[], to: readonly number[]): number[] {
  const skip = to.length - from.length;
  const own = strides(from);
  return to.map((_, i) => (from[i - skip] === 1 ? 0 : (own[i - skip] ?? 0)));
}

const offset = (at: readonly number[], steps: readonly number[]): number =>
  at.reduce((sum, p, i) => sum + p * (steps[i] ?? 0), 0);

/** Calls f with the number and the position of each element. */
function each(dims: readonly number[], f: (n: number, at: readonly number[]) => void): void {
  const count = elementCount(dims);
  const at = dims.map(() => 0);
  for (let n = 0; n < count; n++) {
    f(n, at);
    for (let i = dims.length - 1; i >= 0; i--) {
      const next = (at[i] ?? 0) + 1;
      at[i] = next === dims[i] ? 0 : next;
      if (next !== dims[i]) break;
    }
  }
}

/** The same tensor with every element stored. */
export function whole(x: Partly): Partly | undefined {
  if (x.values.length === elementCount(x.dims)) return x.stored === x.dims ? x : { ...x, stored: x.dims };
  if (elementCount(x.dims) > most) return undefined;
  const steps = stepsIn(x.stored, x.dims);
  const values = new Float64Array(elementCount(x.dims));
  each(x.dims, (n, at) => {
    values[n] = x.values[offset(at, steps)] ?? Number.NaN;
  });
  return { dims: x.dims, stored: x.dims, values };
}

/** The same elements in row-major order under other dims. */
export function reshaped(x: Partly, dims: readonly number[]): Partly | undefined {
  if (elementCount(dims) !== elementCount(x.dims)) return undefined;
  if (isUniform(x)) return filled(dims, x.values[0] ?? Number.NaN);
  const all = whole(x);
  return all && { dims, stored: dims, values: all.values };
}

/** Axes in another order, of length 1 added (undefined) or left out: nothing is copied but the order. */
export function transposed(x: Partly, perm: readonly number[]): Partly | undefined {
  const order = (list: readonly number[]): number[] => perm.map((p) => list[p] ?? 1);
  const [dims, stored] = [order(x.dims), order(x.stored)];
  const steps = order(strides(x.stored));
  const values = new Float64Array(elementCount(stored));
  each(stored, (n, at) => {
    values[n] = x.values[offset(at, steps)] ?? Number.NaN;
  });
  return { dims, stored, values };
}

/** Under other dims that differ in axes of length 1 only: `axes` has the source's axis for each. */
export const relabeled = (x: Partly, axes: readonly (number | undefined)[]): Partly => ({
  dims: axes.map((a) => (a === undefined ? 1 : (x.dims[a] ?? 1))),
  stored: axes.map((a) => (a === undefined ? 1 : (x.stored[a] ?? 1))),
  values: x.values,
});

/** A tensor whose element at each position is that of `x` at `from(position)`; undefined there: `otherwise`. */
export function gathered(
  x: Partly,
  dims: readonly number[],
  from: (at: readonly number[]) => readonly number[] | undefined,
  otherwise = Number.NaN,
): Partly | undefined {
  if (elementCount(dims) > most) return undefined;
  const steps = stepsIn(x.stored, x.dims);
  const values = new Float64Array(elementCount(dims));
  each(dims, (n, at) => {
    const source = from(at);
    values[n] = source === undefined ? otherwise : (x.values[offset(source, steps)] ?? Number.NaN);
  });
  return { dims, stored: dims, values };
}

/** The elements as a list; undefined if one is unknown or there are too many. */
export function listOf(x: Partly | undefined): number[] | undefined {
  const all = x === undefined ? undefined : whole(x);
  return all === undefined || all.values.some(Number.isNaN) ? undefined : [...all.values];
}
