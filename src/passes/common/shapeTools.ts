/** Helpers of gradient rules beside the operators: shapes at run time, zeros, sums back to a broadcast shape. */
import type { Builder } from '../../graph/builder.ts';
import { type Dim, type Node, tensorType, Value } from '../../graph/model.ts';
import type { DataType } from '../../graph/tensor.ts';
import { type Lengths, lengthTools } from './dimArithmetic.ts';

export interface GradTools extends Lengths {
  /** An int64 vector with v's shape: a constant if all dims are known. */
  shapeOf(v: Value): Value;
  /** An int64 vector of one element: the dim of this axis (may be negative). */
  dim(v: Value, axis: number): Value;
  /** Zeros of v's shape and type. */
  zerosLike(v: Value): Value;
  /** v without gradient (for example a shift that cancels). */
  stop(v: Value): Value;
  /** v with its last two axes swapped; a vector is unchanged. */
  T(v: Value): Value;
  /** The rank of v; throws UNSUPPORTED_SHAPE if it is unknown. */
  rank(v: Value): number;
  /** An axis as a non-negative number. */
  axis(v: Value, axis: number): number;
  /** All axes from `from` on. */
  axesFrom(v: Value, from: number): number[];
  /** An optional output of a forward node, added if the node leaves it out. */
  output(
    of: Node,
    index: number,
    dtype: DataType | undefined,
    shape: readonly Dim[] | undefined,
    suffix: string,
  ): Value;
  /** v with all axes but the last merged: [rows, width]. */
  rows(v: Value, width: number): Value;
  /** v reshaped to ref's shape; v itself if the shapes are known to be equal. */
  reshapeLike(v: Value, ref: Value): Value;
  /** dy summed over the axes along which x was broadcast. */
  sumTo(dy: Value, x: Value): Value;
  /** dy of a reduction expanded to x's shape: axes are inserted again if keepdims was 0. */
  unreduce(dy: Value, x: Value, axes: Value | undefined, keepdims: number, noop: number): Value;
}

/** True if both shapes are known and equal, symbols by name. */
export function sameShape(a: readonly Dim[] | undefined, b: readonly Dim[] | undefined): boolean {
  return a !== undefined && b !== undefined && a.length === b.length && a.every((d, i) => d !== null && d === b[i]);
}

const isStatic = (shape: readonly Dim[] | undefined): shape is readonly number[] =>
  shape?.every((d) => typeof d === 'number') ?? false;

export const stopMark = 'loraify.stop';

export function gradTools(g: Builder, needRank: (v: Value) => never): GradTools {
  const tools: GradTools = {
    ...lengthTools(g, (v) => tools.rank(v)),
    shapeOf: (v) => shapeOf(g, v),
    dim: (v, axis) => {
      const d = v.shape?.at(axis);
      if (typeof d === 'number') return g.ints([d]);
      const known = typeof d === 'string' ? g.symbol(d) : undefined;
      return known ?? g.Gather(g.Shape(v), g.ints([axis]));
    },
    zerosLike: (v) => g.Expand(g.like(v, 0), tools.shapeOf(v)),
    stop: (v) => {
      const out = g.Identity(v);
      out.producer?.metadata.set(stopMark, '1');
      return out;
    },
    T: (v) => {
      const n = tools.rank(v);
      const batch = Array.from({ length: Math.max(n - 2, 0) }, (_, i) => i);
      return n < 2 ? v : g.Transpose(v, { perm: [...batch, n - 1, n - 2] });
    },
    rank: (v) => v.shape?.length ?? needRank(v),
    axis: (v, axis) => (axis < 0 ? axis + tools.rank(v) : axis),
    axesFrom: (v, from) => Array.from({ length: tools.rank(v) - from }, (_, i) => from + i),
    output: (of, index, dtype, shape, suffix) => {
      const found = of.outputs[index];
      if (found !== undefined && found.name !== '') return found;
      while (of.outputs.length < index) of.replaceOutput(of.outputs.length, new Value(''));
      const made = new Value(`${of.outputs[0]?.name ?? of.label}.${suffix}`, tensorType(dtype, shape));
      of.replaceOutput(index, made);
      return made;
    },
    rows: (v, width) => (v.shape?.length === 2 ? v : g.Reshape(v, g.ints([-1, width]))),
    reshapeLike: (v, ref) => {
      if (sameShape(v.shape, ref.shape)) return v;
      // A dim of zero would mean "copy" in Reshape.
      const full = isStatic(ref.shape) && !ref.shape.includes(0);
      return g.Reshape(v, tools.shapeOf(ref), full ? {} : { allowzero: 1 });
    },
    sumTo: (dy, x) => {
      if (sameShape(dy.shape, x.shape)) return dy;
      const broadcast = broadcastAxes(dy.shape, x.shape);
      if (broadcast === undefined) return sumAtRunTime(g, dy, x);
      const { axes, lead } = broadcast;
      if (axes.length === 0) return dy;
      const onlyLead = axes.every((i) => i < lead);
      const summed = g.ReduceSum(dy, g.ints(axes), { keepdims: onlyLead ? 0 : 1 });
      return onlyLead || lead === 0 ? summed : tools.reshapeLike(summed, x);
    },
    unreduce: (dy, x, axes, keepdims, noop) => {
      const empty = axes === undefined || axes.shape?.[0] === 0;
      if (empty && noop === 1) return dy;
      if (keepdims === 1) return g.Expand(dy, tools.shapeOf(x));
      if (empty) return g.Expand(g.Reshape(dy, g.ints(new Array<number>(tools.rank(x)).fill(1))), tools.shapeOf(x));
      return g.Expand(g.Unsqueeze(dy, axes), tools.shapeOf(x));
    },
  };
  return tools;
}

/** int64 vector with v's shape: from constants and symbols where these give all of it. */
function shapeOf(g: Builder, v: Value): Value {
  if (isStatic(v.shape)) return g.ints(v.shape);
  const lengths = v.shape?.map((d) => (typeof d === 'number' ? g.ints([d]) : d === null ? undefined : g.symbol(d)));
  if (lengths?.every((d) => d !== undefined) !== true) return g.Shape(v);
  const [only] = lengths;
  if (lengths.length === 1 && only !== undefined) return only;
  return g.Concat(lengths, { axis: 0 });
}

/**
 * The axes of `from` along which `to` was broadcast, and how many axes `from` has in front; undefined where only a run
 * can tell.
 */
function broadcastAxes(
  from: readonly Dim[] | undefined,
  to: readonly Dim[] | undefined,
): { readonly axes: readonly number[]; readonly lead: number } | undefined {
  if (from === undefined || to === undefined) return undefined;
  const lead = from.length - to.length;
  // An unknown length may be 1 at run time, where the other operand has more.
  const ambiguous = to.some((d, i) => {
    const f = from[lead + i];
    return d !== 1 && !(typeof d === 'number' && d > 1) && !(d === f && d !== null) && !(f === 1);
  });
  if (lead < 0 || ambiguous) return undefined;
  return { axes: from.flatMap((f, i) => (i < lead ? [i] : to[i - lead] === 1 && f !== 1 ? [i] : [])), lead };
}

/** dy summed to x's shape over axes that are computed while the graph runs. */
function sumAtRunTime(g: Builder, dy: Value, x: Value): Value {
  const target = g.Shape(x);
  const from = g.Shape(dy);
  // Ones in front make the two shapes equally long: their count is the difference of the ranks.
  const lead = g.Sub(g.Shape(from), g.Shape(target));
  const padded = g.Concat([g.Expand(g.ints([1]), lead), target], { axis: 0 });
  const differs = g.Not(g.Equal(padded, from));
  const axes = g.Reshape(g.NonZero(differs), g.ints([-1]));
  return g.Reshape(g.ReduceSum(dy, axes, { keepdims: 1, noop_with_empty_axes: 1 }), target, { allowzero: 1 });
}
