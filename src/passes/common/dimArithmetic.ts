/**
 * Arithmetic on dims and positions: evaluated at compile time if they are known, in int64 nodes if not, so that a
 * static model gets constants and a dynamic one stays dynamic.
 */
import type { Builder } from '../../graph/builder.ts';
import type { Value } from '../../graph/model.ts';
import { dataTypeNumber, numbersOf } from '../../graph/tensor.ts';

/** A known dim, or an int64 vector of one element. */
export type Length = number | Value;

export interface Lengths {
  /** The dim of this axis (may be negative). */
  length(v: Value, axis: number): Length;
  /** The dims of the axes from `start` to `end`; needs the rank. */
  lengths(v: Value, start?: number, end?: number): Length[];
  /** Element `i` of an integer vector. */
  element(vector: Value, i: number): Length;
  plus(a: Length, b: Length): Length;
  minus(a: Length, b: Length): Length;
  times(...factors: readonly Length[]): Length;
  /** The quotient of non-negative dims, rounded down. */
  over(a: Length, b: Length): Length;
  least(a: Length, b: Length): Length;
  most(a: Length, b: Length): Length;
  /** A position, counted from the start if it was counted from the end. */
  fromStart(position: Length, length: Length): Length;
  /** An int64 vector of these dims. */
  vector(list: readonly Length[]): Value;
  /** An int64 scalar. */
  scalar(l: Length): Value;
  /** v reshaped to these dims. */
  shaped(v: Value, list: readonly Length[]): Value;
}

/** Elements of a constant integer vector or scalar, if all are known. */
export function knownInts(v: Value | undefined): readonly number[] | undefined {
  if (v === undefined) return undefined;
  if (v.elements !== undefined) {
    const numbers = v.elements.filter((e) => typeof e === 'number');
    return numbers.length === v.elements.length ? numbers : undefined;
  }
  // Larger constants are data, not positions.
  return v.tensor === undefined || v.tensor.byteLength > 1 << 16 ? undefined : numbersOf(v.tensor);
}

/** v as int64, because indices may be int32. */
export const asInt64 = (g: Builder, v: Value): Value =>
  v.dtype === 'int64' ? v : g.Cast(v, { to: dataTypeNumber('int64') });

/** A tensor of one element as a scalar. */
export const asScalar = (g: Builder, v: Value): Value => (v.shape?.length === 0 ? v : g.Reshape(v, g.ints([])));

/** Operations that are done on numbers where both operands are known, in nodes where one is not. */
function arithmetic(g: Builder) {
  const node = (l: Length): Value => (typeof l === 'number' ? g.ints([l]) : l);
  const both =
    (known: (a: number, b: number) => number, made: (a: Value, b: Value) => Value) =>
    (a: Length, b: Length): Length =>
      typeof a === 'number' && typeof b === 'number' ? known(a, b) : made(node(a), node(b));
  return {
    node,
    both,
    add: both(
      (a, b) => a + b,
      (a, b) => g.Add(a, b),
    ),
    subtract: both(
      (a, b) => a - b,
      (a, b) => g.Sub(a, b),
    ),
    multiply: both(
      (a, b) => a * b,
      (a, b) => g.Mul(a, b),
    ),
    divide: both(
      (a, b) => Math.floor(a / b),
      (a, b) => g.Div(a, b),
    ),
  };
}

export function lengthTools(g: Builder, rank: (v: Value) => number): Lengths {
  const { node, both, add, subtract, multiply, divide } = arithmetic(g);
  const tools: Lengths = {
    length: (v, axis) => {
      const d = v.shape?.at(axis);
      if (typeof d === 'number') return d;
      return (typeof d === 'string' ? g.symbol(d) : undefined) ?? g.Gather(g.Shape(v), g.ints([axis]));
    },
    lengths: (v, start = 0, end) =>
      Array.from({ length: rank(v) }, (_, i) => i)
        .slice(start, end)
        .map((i) => tools.length(v, i)),
    element: (vector, i) => {
      const e = vector.elements?.[i] ?? knownInts(vector)?.[i];
      return typeof e === 'number' ? e : g.Gather(asInt64(g, vector), g.ints([i]));
    },
    plus: (a, b) => (a === 0 ? b : b === 0 ? a : add(a, b)),
    minus: (a, b) => (b === 0 ? a : subtract(a, b)),
    times: (...factors) => factors.reduce((a, b) => (a === 1 ? b : b === 1 ? a : multiply(a, b)), 1),
    over: (a, b) => (b === 1 ? a : divide(a, b)),
    least: both(Math.min, (a, b) => g.Min([a, b])),
    most: both(Math.max, (a, b) => g.Max([a, b])),
    fromStart: (position, length) => {
      if (typeof position === 'number') return position < 0 ? tools.plus(position, length) : position;
      return g.Where(g.Less(position, g.ints([0])), g.Add(position, node(length)), position);
    },
    vector: (list) => {
      const known = list.filter((l) => typeof l === 'number');
      if (known.length === list.length) return g.ints(known);
      const [only] = list;
      return list.length === 1 && only !== undefined ? node(only) : g.Concat(list.map(node), { axis: 0 });
    },
    scalar: (l) => (typeof l === 'number' ? g.int(l) : g.Squeeze(l)),
    shaped: (v, list) => {
      const known = list.every((l) => typeof l === 'number');
      if (known && !list.includes(0)) return g.Reshape(v, tools.vector(list));
      // A zero in Reshape copies the dim at its place, so that a dynamic batch needs no arithmetic.
      const copied = list.map((l, i) => (typeof l !== 'number' && isLengthOf(g, l, v, i) ? 0 : l));
      const copies = !list.includes(0) && copied.every((l) => typeof l === 'number');
      return g.Reshape(v, tools.vector(copies ? copied : list), copies ? {} : { allowzero: 1 });
    },
  };
  return tools;
}

/** True if `l` was made by `length(v, axis)`. */
function isLengthOf(g: Builder, l: Value, v: Value, axis: number): boolean {
  const d = v.shape?.[axis];
  if (typeof d === 'string' && g.symbol(d) === l) return true;
  const [shape, index] = l.producer?.op === 'Gather' ? l.producer.inputs : [];
  return shape?.producer?.op === 'Shape' && shape.producer.inputs[0] === v && knownInts(index)?.[0] === axis;
}
