/** Attention and rotary embeddings of opset 23 and later. */
import type { Value } from '../../../graph/model.ts';
import type { AttrsOf } from '../../../graph/operators.ts';
import type { Length } from '../../common/dimArithmetic.ts';
import { decompose, grad } from '../rules.ts';
import { attend, byHeads, counting, type G, joinHeads } from './attend.ts';

/** The keys visible to each query: bool and additive masks, the causal mask, windows, padding. */
interface Sight {
  /** Undefined: all. */
  readonly open: Value | undefined;
  readonly bias: Value | undefined;
}

interface Sizes {
  readonly queries: Length;
  readonly keys: Length;
  /** The sequence dim of the past, if keys come from a cache inside the operator. */
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
  const key = counting(g, sizes.keys, 3);
  const limits: Value[] = [];
  const perBatch = valid === undefined ? undefined : g.Reshape(valid, g.ints([-1, 1, 1, 1]));
  const { is_causal: causal, left_window_size: left, right_window_size: right } = attrs;
  if (causal === 1 || left >= 0 || right >= 0) {
    // A query's position counts the keys before the block of queries: past ones, or the valid ones of an outer cache.
    const offset = perBatch === undefined ? g.vector([sizes.past]) : g.Sub(perBatch, g.vector([sizes.queries]));
    const at = g.Add(counting(g, sizes.queries, 2), offset);
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

/** The mask as floats, extended with masked keys if it has fewer keys. */
function asLong(g: G, mask: Value, keys: Length, scores: Value): Value {
  const floats = mask.dtype !== 'bool';
  const values = floats ? mask : g.CastLike(mask, scores);
  const missing = g.minus(keys, g.length(mask, -1));
  if (missing === 0) return values;
  const closed = floats ? g.like(scores, -Infinity) : g.like(scores, 0);
  return g.Pad(values, g.vector([0, missing]), closed, g.ints([-1]));
}

/**
 * softmax(scale·QKᵀ, capped, masked)·V; a query without visible keys gives zeros.
 * https://onnx.ai/onnx/operators/onnx__Attention.html
 */
decompose('Attention', ({ inputs: [q0, k0, v0, mask, pastKey, pastValue, valid], attrs, g }) => {
  const q = byHeads(g, q0, attrs.q_num_heads ?? 1);
  const [k1, v1] = [byHeads(g, k0, attrs.kv_num_heads ?? 1), byHeads(g, v0, attrs.kv_num_heads ?? 1)];
  const keys = pastKey === undefined ? k1 : g.Concat([pastKey, k1], { axis: 2 });
  const values = pastValue === undefined ? v1 : g.Concat([pastValue, v1], { axis: 2 });
  const past = pastKey === undefined ? 0 : g.length(pastKey, 2);
  const sizes = { queries: g.length(q, 2), keys: g.length(keys, 2), past };
  const { raw, capped, biased, weights, y } = attend(g, q, keys, values, {
    ...sight(g, q, mask, valid, sizes, attrs),
    scale: attrs.scale,
    softcap: attrs.softcap,
    precision: attrs.softmax_precision,
  });
  const shown = [raw, capped, biased, weights][attrs.qk_matmul_output_mode];
  return [g.rank(q0) === 4 ? y : joinHeads(g, y), keys, values, shown];
});

/**
 * Each pair (a, b) is rotated by its angle: y = (a·cos - b·sin, a·sin + b·cos), so the gradient is rotated back (Su et
 * al. 2021).
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

/** Both halves of the rotated part, [batch, sequence, heads, pairs]. */
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
