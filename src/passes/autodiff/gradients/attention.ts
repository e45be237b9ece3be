/** Attention and rotary embeddings of opset 23 and later. */
import type { Builder } from '../../../graph/builder.ts';
import type { Value } from '../../../graph/model.ts';
import type { AttrsOf } from '../../../graph/operators.ts';
import type { Length } from '../lengths.ts';
import { decompose, grad } from '../rules.ts';
import type { GradTools } from '../tools.ts';

type G = Builder & GradTools;

/** [batch, sequence, heads·size] as [batch, heads, sequence, size]; four axes stay. */
function byHeads(g: G, x: Value, heads: Length): Value {
  if (g.rank(x) === 4) return x;
  const apart = g.shaped(x, [g.length(x, 0), g.length(x, 1), heads, g.over(g.length(x, 2), heads)]);
  return g.Transpose(apart, { perm: [0, 2, 1, 3] });
}

/** Which keys a query sees: bool and additive masks, the causal frontier, windows, padding. */
interface Sight {
  /** Undefined: all. */
  readonly open: Value | undefined;
  readonly bias: Value | undefined;
}

interface Sizes {
  readonly queries: Length;
  readonly keys: Length;
  /** Length of the past, where keys came from a cache inside the operator. */
  readonly past: Length;
}

function sight(
  g: G,
  scores: Value,
  mask: Value | undefined,
  valid: Value | undefined,
  sizes: Sizes,
  attrs: AttrsOf<'Attention'>,
): Sight {
  const column = (l: Length, shape: readonly number[]): Value =>
    g.Reshape(g.Range(g.int(0), g.scalar(l), g.int(1)), g.ints(shape));
  const key = column(sizes.keys, [1, 1, 1, -1]);
  const limits: Value[] = [];
  const perBatch = valid === undefined ? undefined : g.Reshape(valid, g.ints([-1, 1, 1, 1]));
  const { is_causal: causal, left_window_size: left, right_window_size: right } = attrs;
  if (causal === 1 || left >= 0 || right >= 0) {
    // A query's position counts the keys before the block of queries: past ones, or the valid ones of an outer cache.
    const offset = perBatch === undefined ? g.vector([sizes.past]) : g.Sub(perBatch, g.vector([sizes.queries]));
    const at = g.Add(column(sizes.queries, [1, 1, -1, 1]), offset);
    if (causal === 1) limits.push(g.LessOrEqual(key, at));
    if (left >= 0) limits.push(g.GreaterOrEqual(key, g.Sub(at, g.int(left))));
    if (right >= 0) limits.push(g.LessOrEqual(key, g.Add(at, g.int(right))));
  }
  if (perBatch !== undefined) limits.push(g.Less(key, perBatch));
  let bias: Value | undefined;
  if (mask !== undefined) {
    const whole = asLong(g, mask, sizes.keys, scores);
    const floats = mask.dtype !== 'bool';
    const seen = floats ? g.Greater(whole, g.like(scores, -Infinity)) : g.Greater(whole, g.like(scores, 0.5));
    if (floats) bias = whole;
    limits.push(seen);
  }
  return { open: limits.length === 0 ? undefined : limits.reduce((a, b) => g.And(a, b)), bias };
}

/** The mask as floats, closed beyond its end where it has fewer keys. */
function asLong(g: G, mask: Value, keys: Length, scores: Value): Value {
  const floats = mask.dtype !== 'bool';
  const values = floats ? mask : g.CastLike(mask, scores);
  const missing = g.minus(keys, g.length(mask, -1));
  if (missing === 0) return values;
  const closed = floats ? g.like(scores, -Infinity) : g.like(scores, 0);
  return g.Pad(values, g.vector([0, missing]), closed, g.ints([-1]));
}

/**
 * softmax(scale·QKᵀ, capped, masked)·V; a query that sees no key gives zeros. Queries of heads that share a key head are rows of
 * one product, so that no key is repeated. https://onnx.ai/onnx/operators/onnx__Attention.html
 */
decompose('Attention', ({ inputs: [q0, k0, v0, mask, pastKey, pastValue, valid], attrs, g }) => {
  const { softcap, qk_matmul_output_mode: mode } = attrs;
  const q = byHeads(g, q0, attrs.q_num_heads ?? 1);
  const [k1, v1] = [byHeads(g, k0, attrs.kv_num_heads ?? 1), byHeads(g, v0, attrs.kv_num_heads ?? 1)];
  const keys = pastKey === undefined ? k1 : g.Concat([pastKey, k1], { axis: 2 });
  const values = pastValue === undefined ? v1 : g.Concat([pastValue, v1], { axis: 2 });
  const [batch, heads, queries, size] = sizesOf(g, q);
  const [, shared, total] = sizesOf(g, keys);
  const grouped = (v: Value, width: Length): Value =>
    heads === shared ? v : g.shaped(v, [batch, shared, g.over(g.times(heads, queries), shared), width]);
  const back = (v: Value, width: Length): Value => (heads === shared ? v : g.shaped(v, [batch, heads, queries, width]));
  const scale = attrs.scale ?? (typeof size === 'number' ? 1 / Math.sqrt(size) : undefined);
  const factor = scale === undefined ? g.Reciprocal(g.Sqrt(g.CastLike(g.vector([size]), q))) : g.like(q, scale);
  const raw = back(g.MatMul(grouped(g.Mul(q, factor), size), g.T(keys)), total);
  const capped = softcap > 0 ? g.Mul(g.Tanh(g.Div(raw, g.like(raw, softcap))), g.like(raw, softcap)) : raw;
  const { open, bias } = sight(
    g,
    capped,
    mask,
    valid,
    { queries, keys: total, past: pastKey === undefined ? 0 : g.length(pastKey, 2) },
    attrs,
  );
  const biased = bias === undefined ? capped : g.Add(capped, bias);
  const probabilities =
    open === undefined ? softmax(g, biased, attrs.softmax_precision) : masked(g, biased, open, attrs.softmax_precision);
  const y = back(g.MatMul(grouped(probabilities, total), values), g.length(values, 3));
  const out =
    g.rank(q0) === 4
      ? y
      : g.shaped(g.Transpose(y, { perm: [0, 2, 1, 3] }), [batch, queries, g.times(heads, g.length(values, 3))]);
  return [out, keys, values, [raw, capped, biased, probabilities][mode]];
});

function sizesOf(g: G, v: Value): [Length, Length, Length, Length] {
  return [g.length(v, 0), g.length(v, 1), g.length(v, 2), g.length(v, 3)];
}

function softmax(g: G, scores: Value, precision: number | undefined): Value {
  if (precision === undefined) return g.Softmax(scores, { axis: -1 });
  return g.CastLike(g.Softmax(g.Cast(scores, { to: precision }), { axis: -1 }), scores);
}

/** A finite floor instead of -inf, so that a row without open keys has a derivative: zero. */
function masked(g: G, scores: Value, open: Value, precision: number | undefined): Value {
  const floor = g.like(scores, scores.dtype === 'float16' ? -65504 : -3e38);
  const p = softmax(g, g.Where(open, scores, floor), precision);
  return g.Where(open, p, g.like(p, 0));
}

/**
 * Each pair (a, b) is turned by its angle: y = (a·cos - b·sin, a·sin + b·cos), so the gradient is turned back (Su et al. 2021).
 */
grad('RotaryEmbedding', ({ inputs: [x, cos, sin, at], attrs, dy, g }) => {
  const dx = g.RotaryEmbedding(dy, cos, g.Neg(sin), at, attrs);
  const [[a, b], [da, db]] = [pairs(g, x, cos, attrs), pairs(g, dy, cos, attrs)];
  const overHeads = (v: Value): Value => g.ReduceSum(v, g.ints([2]), { keepdims: 0 });
  const dCos = overHeads(g.Add(g.Mul(da, a), g.Mul(db, b)));
  const dSin = overHeads(g.Sub(g.Mul(db, a), g.Mul(da, b)));
  if (at === undefined) return [dx, dCos, dSin];
  const width = g.length(cos, -1);
  const rows = (v: Value, cache: Value): Value => {
    const flat = g.shaped(v, [g.times(...g.lengths(at)), width]);
    const spread = g.Expand(g.Reshape(at, g.ints([-1, 1])), g.shapeOf(flat));
    return g.ScatterElements(g.zerosLike(cache), spread, flat, { axis: 0, reduction: 'add' });
  };
  return [dx, rows(dCos, cos), rows(dSin, sin)];
});

/** Both halves of the turned part, [batch, sequence, heads, pairs]. */
function pairs(g: G, x: Value, cos: Value, attrs: AttrsOf<'RotaryEmbedding'>): [Value, Value] {
  const heads = attrs.num_heads ?? 1;
  const whole =
    g.rank(x) === 4
      ? g.Transpose(x, { perm: [0, 2, 1, 3] })
      : g.shaped(x, [g.length(x, 0), g.length(x, 1), heads, g.over(g.length(x, 2), heads)]);
  const half = g.length(cos, -1);
  const part = (from: Length, to: Length, step: number): Value =>
    g.Slice(whole, g.vector([from]), g.vector([to]), g.ints([3]), g.ints([step]));
  const end = g.times(half, 2);
  return attrs.interleaved === 1 ? [part(0, end, 2), part(1, end, 2)] : [part(0, half, 1), part(half, end, 1)];
}
