/** Attention in its standard form (opset 23 and 24) and in ONNX Runtime's contributed forms. */
import type { Dim, Value } from '../../graph/model.ts';
import { add, divExact, max, mul } from './dims.ts';
import { scalarIn } from './elements.ts';
import { dimAt, out, type Shape, shape } from './rule.ts';

/** Batch, heads, sequence dim and width of one operand, [B, H, S, D] or [B, S, H*D]. */
interface Heads {
  readonly batch: Dim;
  readonly heads: Dim;
  readonly length: Dim;
  readonly width: Dim;
}

function headsOf(dims: Shape, count: Dim): Heads {
  const [batch, heads, length, width] = [
    dimAt(dims, 0),
    count,
    dimAt(dims, dims?.length === 3 ? 1 : 2),
    dimAt(dims, -1),
  ];
  if (dims?.length === 4) return { batch, heads: dimAt(dims, 1), length, width };
  return dims?.length === 3
    ? { batch, heads, length, width: divExact(width, heads) }
    : { batch: null, heads, length: null, width: null };
}

/** The sequence dim of a cache with new positions appended. */
const appended = (past: Value | undefined, length: Dim): Dim =>
  past === undefined ? length : add(dimAt(past.shape, 2), length);

shape('Attention', ({ inputs: [q, k, v, , pastKey, pastValue], attrs: { q_num_heads, kv_num_heads } }) => {
  const query = headsOf(q?.shape, q_num_heads ?? null);
  const key = headsOf(k?.shape, kv_num_heads ?? null);
  const value = headsOf(v?.shape, kv_num_heads ?? null);
  const total = appended(pastKey, key.length);
  const flat = q?.shape?.length === 3;
  const y = flat
    ? [query.batch, query.length, mul(query.heads, value.width)]
    : [query.batch, query.heads, query.length, value.width];
  return [
    out(q?.dtype, q?.shape === undefined ? undefined : y),
    out(pastKey?.dtype ?? k?.dtype, [key.batch, key.heads, total, key.width]),
    out(pastValue?.dtype ?? v?.dtype, [value.batch, value.heads, appended(pastValue, value.length), value.width]),
    out(q?.dtype, [query.batch, query.heads, query.length, total]),
  ];
});

// The weight concatenates q, k and v: [in, q + k + v]. The cache stacks keys and values: [2, B, H, P, D].
shape('com.microsoft.Attention', ({ inputs: [x, w, bias, , past], attrs }) => {
  const [, , given] = attrs.qkv_hidden_sizes ?? [];
  const width = given ?? divExact(dimAt(w?.shape, 1) ?? dimAt(bias?.shape, 0), 3);
  const [batch, length, heads] = [dimAt(x?.shape, 0), dimAt(x?.shape, 1), attrs.num_heads ?? null];
  const shared = attrs.past_present_share_buffer === 1;
  const total = past === undefined ? length : shared ? dimAt(past.shape, 3) : add(dimAt(past.shape, 3), length);
  return [out(x?.dtype, [batch, length, width]), out(x?.dtype, [2, batch, heads, total, divExact(width, heads)])];
});

// q, k and v are separate, or packed as [B, S, H, 3, D], or k and v are packed as [B, S, H, 2, D].
shape('com.microsoft.MultiHeadAttention', ({ inputs: [q, k, v, , , , pastKey, pastValue], attrs: { num_heads } }) => {
  const count = num_heads ?? null;
  const [batch, length] = [dimAt(q?.shape, 0), dimAt(q?.shape, 1)];
  const packed = k === undefined && q?.shape?.length === 5;
  const query = packed ? { width: dimAt(q?.shape, 4) } : headsOf(q?.shape, count);
  const pair = k?.shape?.length === 5 && v === undefined;
  const key = pair
    ? { length: dimAt(k?.shape, 1), width: dimAt(k?.shape, 4) }
    : packed
      ? { length, ...query }
      : headsOf(k?.shape, count);
  const value = pair || packed ? key : headsOf(v?.shape, count);
  const cache = (past: Value | undefined, width: Dim): Dim[] => [batch, count, appended(past, key.length), width];
  return [
    out(q?.dtype, q?.shape === undefined ? undefined : [batch, length, mul(count, value.width)]),
    out(q?.dtype, cache(pastKey, key.width)),
    out(q?.dtype, cache(pastValue, value.width)),
    out(q?.dtype, [batch, count, length, appended(pastKey, key.length)]),
  ];
});

// Without key and value the query has all three: [B, S, (H + 2 * G) * D].
shape('com.microsoft.GroupQueryAttention', ({ inputs: [q, k, , pastKey, pastValue, , total], attrs }) => {
  const [heads, groups] = [attrs.num_heads ?? null, attrs.kv_num_heads ?? null];
  const [batch, length, width] = [dimAt(q?.shape, 0), dimAt(q?.shape, 1), dimAt(q?.shape, 2)];
  const size = divExact(width, k === undefined ? add(heads, mul(groups, 2)) : heads);
  // The cache is a buffer that grows only if the total exceeds it.
  const cache = (past: Value | undefined): Dim[] => {
    const capacity = past === undefined ? length : max(dimAt(past.shape, 2), scalarIn(total));
    return [batch, groups, capacity, size];
  };
  return [
    out(q?.dtype, [batch, length, mul(heads, size)]),
    out(pastKey?.dtype ?? q?.dtype, cache(pastKey)),
    out(pastValue?.dtype ?? q?.dtype, cache(pastValue)),
    out(q?.dtype, [batch, heads, length, scalarIn(total)]),
  ];
});
