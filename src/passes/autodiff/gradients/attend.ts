/** The parts that all forms of attention share: heads, the attention itself, and rotary pairs. */
import type { Builder } from '../../../graph/builder.ts';
import type { Value } from '../../../graph/model.ts';
import type { Length } from '../../common/dimArithmetic.ts';
import type { GradTools } from '../../common/shapeTools.ts';

export type G = Builder & GradTools;

/** [batch, sequence, heads·size] as [batch, heads, sequence, size]; a tensor of four axes is unchanged. */
export function byHeads(g: G, x: Value, heads: Length): Value {
  if (g.rank(x) === 4) return x;
  const apart = g.shaped(x, [g.length(x, 0), g.length(x, 1), heads, g.over(g.length(x, 2), heads)]);
  return g.Transpose(apart, { perm: [0, 2, 1, 3] });
}

/** [batch, heads, sequence, size] as [batch, sequence, heads·size]. */
export function joinHeads(g: G, y: Value): Value {
  const [batch, heads, length, size] = sizesOf(g, y);
  return g.shaped(g.Transpose(y, { perm: [0, 2, 1, 3] }), [batch, length, g.times(heads, size)]);
}

export function sizesOf(g: G, v: Value): [Length, Length, Length, Length] {
  return [g.length(v, 0), g.length(v, 1), g.length(v, 2), g.length(v, 3)];
}

/** 0, 1, 2 … along one of four axes, the others 1. */
export function counting(g: G, length: Length, axis: number): Value {
  const shape = [1, 1, 1, 1].map((one, i) => (i === axis ? -1 : one));
  return g.Reshape(g.Range(g.int(0), g.scalar(length), g.int(1)), g.ints(shape));
}

/** Splits an axis into parts of these sizes. */
export function parts<const L extends readonly Length[]>(
  g: G,
  v: Value,
  axis: number,
  lengths: L,
): { readonly [I in keyof L]: Value } {
  const list = g.node({ op: 'Split', inputs: [v, g.vector(lengths)], attrs: { axis }, outputs: lengths.length });
  if (!isOneEach(list, lengths)) throw new Error('Split has the wrong number of outputs');
  return list;
}

const isOneEach = <L extends readonly Length[]>(
  list: readonly Value[],
  lengths: L,
): list is { readonly [I in keyof L]: Value } => list.length === lengths.length;

export interface Scoring {
  /** Undefined: one over the square root of the head size. */
  readonly scale?: number | undefined;
  /** 0: no softcap. */
  readonly softcap?: number;
  /** Added to the scores. */
  readonly bias?: Value | undefined;
  /** A bool mask of the keys visible to a query. Undefined: all. */
  readonly open?: Value | undefined;
  /** Every query sees a key. A query without keys gives zeros, which takes an extra pass over all weights to ensure. */
  readonly seeing?: boolean;
  /** One more score per head, [1, heads, 1, 1], whose attention weight is discarded. */
  readonly sink?: Value | undefined;
  /** The compute type of the softmax. */
  readonly precision?: number | undefined;
}

/** The stages of softmax(scale·QKᵀ, capped, biased)·V, all [batch, heads, queries, …]. */
export interface Attended {
  readonly raw: Value;
  readonly capped: Value;
  readonly biased: Value;
  readonly weights: Value;
  readonly y: Value;
}

/**
 * Attention over q, k and v by heads. Queries of heads that share a key head are rows of one MatMul, so that keys are
 * not repeated.
 */
export function attend(g: G, q: Value, keys: Value, values: Value, by: Scoring): Attended {
  const [batch, heads, queries, size] = sizesOf(g, q);
  const [, shared, total] = sizesOf(g, keys);
  const grouped = (v: Value, width: Length): Value =>
    heads === shared ? v : g.shaped(v, [batch, shared, g.over(g.times(heads, queries), shared), width]);
  const back = (v: Value, width: Length): Value => (heads === shared ? v : g.shaped(v, [batch, heads, queries, width]));
  const scale = by.scale ?? (typeof size === 'number' ? 1 / Math.sqrt(size) : undefined);
  const factor = scale === undefined ? g.Reciprocal(g.Sqrt(g.CastLike(g.vector([size]), q))) : g.like(q, scale);
  const raw = back(g.MatMul(grouped(g.Mul(q, factor), size), g.T(keys)), total);
  const cap = by.softcap ?? 0;
  const capped = cap > 0 ? g.Mul(g.Tanh(g.Div(raw, g.like(raw, cap))), g.like(raw, cap)) : raw;
  const biased = by.bias === undefined ? capped : g.Add(capped, by.bias);
  const weights = by.open === undefined ? softmax(g, biased, by) : masked(g, biased, by.open, by);
  const y = back(g.MatMul(grouped(weights, total), values), g.length(values, 3));
  return { raw, capped, biased, weights, y };
}

function softmax(g: G, scores: Value, { precision, sink }: Scoring): Value {
  if (sink !== undefined) return beside(g, scores, sink);
  if (precision === undefined) return g.Softmax(scores, { axis: -1 });
  return g.CastLike(g.Softmax(g.Cast(scores, { to: precision }), { axis: -1 }), scores);
}

/** The softmax with one more score in each row. */
function beside(g: G, scores: Value, sink: Value): Value {
  const column = g.Expand(sink, g.vector([...g.lengths(scores, 0, 3), 1]));
  const all = g.Softmax(g.Concat([scores, column], { axis: 3 }), { axis: -1 });
  return g.Slice(all, g.ints([0]), g.ints([-1]), g.ints([3]));
}

/** A finite minimum instead of -inf, so that a row without visible keys has a zero derivative. */
function masked(g: G, scores: Value, open: Value, by: Scoring): Value {
  const floor = g.like(scores, scores.dtype === 'float16' ? -65504 : -3e38);
  const p = softmax(g, g.Where(open, scores, floor), by);
  return by.seeing === true ? p : g.Where(open, p, g.like(p, 0));
}

export interface Rotation {
  /** Whether a pair is two neighbours or one element of each half. */
  readonly interleaved: boolean;
  /** Width of a head, and of its rotated front part. */
  readonly size: Length;
  readonly rotated: Length;
}

/**
 * Each pair (a, b) of the front part of a head becomes (a·cos - b·sin, b·cos + a·sin) (Su et al. 2021). `x` has
 * separate heads: [.., .., .., size], and cos and sin broadcast to [.., .., .., rotated / 2].
 */
export function rotate(g: G, x: Value, cos: Value, sin: Value, { interleaved, size, rotated }: Rotation): Value {
  const [front, rest] = size === rotated ? [x, undefined] : parts(g, x, 3, [rotated, g.minus(size, rotated)]);
  const half = g.over(rotated, 2);
  const axis = interleaved ? 4 : 3;
  const pairs = g.shaped(front, [...g.lengths(front, 0, 3), ...(interleaved ? [half, 2] : [2, half])]);
  const [a, b] = parts(g, pairs, axis, [1, 1]);
  const [c, s] = [g.Unsqueeze(cos, g.ints([axis])), g.Unsqueeze(sin, g.ints([axis]))];
  const turn = g.Concat([g.Sub(g.Mul(a, c), g.Mul(b, s)), g.Add(g.Mul(b, c), g.Mul(a, s))], { axis });
  const y = g.shaped(turn, [...g.lengths(front, 0, 3), rotated]);
  return rest === undefined ? y : g.Concat([y, rest], { axis: 3 });
}
