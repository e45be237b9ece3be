/**
 * ONNX Runtime's contributed forms of attention, as its CPU kernels (1.30) compute them.
 * https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
 */
import { noGradient } from '../../../errors.ts';
import type { Node, Value } from '../../../graph/model.ts';
import type { AttrsOf } from '../../../graph/operators.ts';
import { asInt64, type Length } from '../../common/dimArithmetic.ts';
import { decompose } from '../rules.ts';
import {
  attend,
  byHeads,
  counting,
  type G,
  joinHeads,
  parts,
  type Rotation,
  rotate,
  type Scoring,
  sizesOf,
} from './attend.ts';
import { following, rowsOf } from './contribRotary.ts';

/** A scale of 0 means one over the square root of the head size. */
const given = (scale: number): number | undefined => (scale === 0 ? undefined : scale);

function refuse(node: Node, what: string): never {
  throw noGradient(`${node.op} with ${what} has no gradient rule`, { node: node.label });
}

interface Masks {
  /** Keys to attend to: ends [batch], or 0 and 1 [batch, keys] or [batch, queries, keys]. */
  readonly padding: Value | undefined;
  /** The list of ends may be followed by starts, [2·batch]. */
  readonly starts: boolean;
  /** The score of a masked key: finite, so that a query whose keys are all masked sees them as if they were not. */
  readonly filter: number;
  readonly causal: boolean;
  /** Added to the scores: broadcasts to [batch, heads, queries, keys]. */
  readonly bias: Value | undefined;
}

const masksOf = ({
  mask_filter_value: filter,
  unidirectional,
}: AttrsOf<'com.microsoft.Attention'> | AttrsOf<'com.microsoft.MultiHeadAttention'>) => ({
  filter,
  causal: unidirectional === 1,
});

interface Extent {
  readonly batch: Length;
  readonly queries: Length;
  /** Sequence dims of the past, of the new keys, and of both. */
  readonly past: Length;
  readonly added: Length;
  readonly keys: Length;
}

/** Padding is added to the scores; keys beyond the causal mask are excluded from the softmax altogether. */
function masked(g: G, like: Value, masks: Masks, extent: Extent): Scoring {
  const { padding, filter, bias } = masks;
  const shift =
    padding === undefined
      ? undefined
      : g.Where(unpadded(g, padding, masks.starts, extent), g.like(like, 0), g.like(like, filter));
  return {
    bias: bias !== undefined && shift !== undefined ? g.Add(bias, shift) : (bias ?? shift),
    open: masks.causal ? beforeFrontier(g, extent) : undefined,
    seeing: true,
  };
}

/** The kernel leaves the last query unmasked, which matters if there are more new keys than queries. */
function beforeFrontier(g: G, { queries, past, added, keys }: Extent): Value {
  const query = counting(g, queries, 2);
  const at = past === 0 ? query : g.Add(query, g.vector([past]));
  const before = g.LessOrEqual(counting(g, keys, 3), at);
  return queries === added ? before : g.Or(before, g.Equal(query, g.vector([g.minus(queries, 1)])));
}

/** A bool mask of the keys that are not padding: broadcasts to [batch, heads, queries, keys]. */
function unpadded(g: G, mask: Value, starts: boolean, { batch, keys }: Extent): Value {
  const rank = g.rank(mask);
  if (rank > 1) return g.Unsqueeze(g.Greater(mask, g.like(mask, 0)), g.ints(rank === 2 ? [1, 2] : [1]));
  const key = counting(g, keys, 3);
  const column = (list: Value, from: Length, to: Length): Value =>
    g.Reshape(g.Slice(asInt64(g, list), g.vector([from]), g.vector([to]), g.ints([0])), g.ints([-1, 1, 1, 1]));
  const before = g.Less(key, column(mask, 0, batch));
  if (!starts || g.length(mask, 0) === batch) return before;
  // With zeros appended, a list of ends alone has starts too.
  const none = g.Expand(g.int(0), g.vector([batch]));
  const from = column(g.Concat([asInt64(g, mask), none], { axis: 0 }), batch, g.times(2, batch));
  return g.And(before, g.GreaterOrEqual(key, from));
}

/** Query, key and value, [batch, heads, sequence, size]. */
type Operands = readonly [q: Value, k: Value, v: Value];

/** [batch, sequence, heads, 2 or 3, size], a layout of CUDA's kernels, as [2 or 3, batch, heads, sequence, size]. */
const stacked = (g: G, packed: Value): Value => g.Transpose(packed, { perm: [3, 0, 2, 1, 4] });
const one = (g: G, v: Value): Value => g.Squeeze(v, g.ints([0]));

function operandsOf(
  g: G,
  node: Node,
  heads: number,
  [query, key, value]: readonly [Value, Value | undefined, Value | undefined],
): Operands {
  if (key === undefined) {
    const [q, k, v] = parts(g, stacked(g, query), 0, [1, 1, 1]);
    return [one(g, q), one(g, k), one(g, v)];
  }
  if (value !== undefined) return [byHeads(g, query, heads), byHeads(g, key, heads), byHeads(g, value, heads)];
  if (g.rank(key) !== 5) refuse(node, 'a key but no value');
  const [k, v] = parts(g, stacked(g, key), 0, [1, 1]);
  return [byHeads(g, query, heads), one(g, k), one(g, v)];
}

/** q, k and v plus their parts of a single bias. */
function shifted(g: G, [q, k, v]: Operands, bias: Value | undefined): Operands {
  if (bias === undefined) return [q, k, v];
  const widthOf = (x: Value): Length => g.times(g.length(x, 1), g.length(x, 3));
  const of = (x: Value, part: Value): Value => g.Add(x, g.shaped(part, [g.length(x, 1), 1, g.length(x, 3)]));
  const [bq, bk, bv] = parts(g, bias, 0, [widthOf(q), widthOf(k), widthOf(v)]);
  return [of(q, bq), of(k, bk), of(v, bv)];
}

interface Cached {
  readonly pastKey: Value | undefined;
  readonly pastValue: Value | undefined;
}

/** Attention over cached and new keys. */
function attended(g: G, [q, k, v]: Operands, { pastKey, pastValue }: Cached, masks: Masks, scale: number) {
  const keys = pastKey === undefined ? k : g.Concat([pastKey, k], { axis: 2 });
  const values = pastValue === undefined ? v : g.Concat([pastValue, v], { axis: 2 });
  const extent: Extent = {
    batch: g.length(q, 0),
    queries: g.length(q, 2),
    past: pastKey === undefined ? 0 : g.length(pastKey, 2),
    added: g.length(k, 2),
    keys: g.length(keys, 2),
  };
  return { keys, values, ...attend(g, q, keys, values, { ...masked(g, q, masks, extent), scale: given(scale) }) };
}

decompose(
  'com.microsoft.MultiHeadAttention',
  ({ node, inputs: [query, key, value, bias, padding, scores, pastKey, pastValue, used, beams], attrs, g }) => {
    if (used !== undefined || beams !== undefined) refuse(node, 'a cache of fixed length');
    const qkv = operandsOf(g, node, attrs.num_heads ?? 1, [query, key, value]);
    const masks = { ...masksOf(attrs), padding, starts: false, bias: scores };
    const a = attended(g, shifted(g, qkv, bias), { pastKey, pastValue }, masks, attrs.scale);
    return [joinHeads(g, a.y), a.keys, a.values, a.biased];
  },
);

/** q, k and v come from one MatMul with concatenated weights; the cache stacks keys and values. */
decompose('com.microsoft.Attention', ({ node, inputs: [x, weights, bias, padding, past, scores, used], attrs, g }) => {
  if (used !== undefined || attrs.past_present_share_buffer === 1) refuse(node, 'a cache of fixed length');
  if (attrs.do_rotary === 1) refuse(node, 'rotary embeddings inside');
  const [third, heads] = [g.over(g.length(weights, 1), 3), attrs.num_heads ?? 1];
  const [dq = third, dk = third, dv = third] = attrs.qkv_hidden_sizes ?? [];
  const product = g.MatMul(x, weights);
  const [q, k, v] = parts(g, bias === undefined ? product : g.Add(product, bias), 2, [dq, dk, dv]);
  const [pastKey, pastValue] = past === undefined ? [] : parts(g, past, 0, [1, 1]).map((c) => one(g, c));
  const masks = { ...masksOf(attrs), padding, starts: true, bias: scores };
  const qkv = [byHeads(g, q, heads), byHeads(g, k, heads), byHeads(g, v, heads)] as const;
  const a = attended(g, qkv, { pastKey, pastValue }, masks, attrs.scale);
  const present = g.Concat([g.Unsqueeze(a.keys, g.ints([0])), g.Unsqueeze(a.values, g.ints([0]))], { axis: 0 });
  return [joinHeads(g, a.y), present];
});

decompose('com.microsoft.GroupQueryAttention', ({ node, inputs, attrs, g }) => {
  const [query, key, value, pastKey, pastValue, seqlens, total, cos, sin, positions, bias, sinks] = inputs;
  for (const [i, what] of [
    [12, 'a quantized cache'],
    [13, 'a quantized cache'],
    [14, 'normalized queries'],
    [15, 'normalized keys'],
    [16, 'queries of several lengths'],
  ] as const)
    if (inputs[i] !== undefined) refuse(node, what);
  const [heads, groups] = [attrs.num_heads ?? 1, attrs.kv_num_heads ?? 1];
  const queries = g.length(query, 1);
  const [q0, k0, v]: Operands =
    key !== undefined && value !== undefined
      ? [byHeads(g, query, heads), byHeads(g, key, groups), byHeads(g, value, groups)]
      : parts(g, byHeads(g, query, heads + 2 * groups), 1, [heads, groups, groups]);

  // [batch, 1, 1, 1]: the number of keys of each row, and of earlier ones among them. A first prompt has none of these.
  const known = g.Add(g.Reshape(asInt64(g, seqlens), g.ints([-1, 1, 1, 1])), g.int(1));
  const empty = pastKey === undefined || g.length(pastKey, 2) === 0;
  if (attrs.sliding_window_cache === 1 && !empty) refuse(node, 'a cache that is a sliding window and not empty');
  const isPrompt = (): Value => g.Equal(g.Reshape(asInt64(g, total), g.ints([1])), g.vector([queries]));
  const before = empty ? g.int(0) : g.Where(isPrompt(), g.int(0), g.Sub(known, g.vector([queries])));

  let [q, k] = [q0, k0];
  if (attrs.do_rotary === 1) {
    if (cos === undefined || sin === undefined) refuse(node, 'do_rotary but no tables');
    const at = positionsOf(g, { positions, before, empty, queries, isPrompt });
    const [c, s] = [rowsOf(g, cos, at, 1), rowsOf(g, sin, at, 1)];
    const rotation: Rotation = {
      interleaved: attrs.rotary_interleaved === 1,
      size: g.length(q, 3),
      rotated: g.times(2, g.length(cos, 1)),
    };
    [q, k] = [rotate(g, q, c, s, rotation), rotate(g, k, c, s, rotation)];
  }
  const joined = (past: Value | undefined, now: Value): Value =>
    empty || past === undefined ? now : inCache(g, past, now, before, total);
  const [keys, values] = [joined(pastKey, k), joined(pastValue, v)];

  // A query that is itself padding gets the position of the last key.
  const last = g.Sub(known, g.int(1));
  const at = attrs.causal === 1 ? g.Min([g.Add(counting(g, queries, 2), before), last]) : last;
  const column = counting(g, g.length(keys, 2), 3);
  const frontier = g.LessOrEqual(column, at);
  const window = attrs.local_window_size;
  const open = window < 0 ? frontier : g.And(frontier, g.Greater(column, g.Sub(at, g.int(window))));
  const sink =
    sinks === undefined
      ? attrs.smooth_softmax === 1
        ? g.Reshape(g.like(q, 0), g.ints([1, 1, 1, 1]))
        : undefined
      : g.Reshape(sinks, g.ints([1, -1, 1, 1]));
  const {
    biased: scores,
    weights,
    y,
  } = attend(g, q, keys, values, {
    scale: given(attrs.scale),
    softcap: attrs.softcap,
    bias,
    open,
    seeing: window !== 0,
    sink,
  });
  // 1: before the softmax, 2: after it.
  const qk = attrs.qk_output === 1 ? g.Where(open, scores, g.like(scores, 0)) : weights;
  return [joinHeads(g, y), keys, values, attrs.qk_output === 0 ? undefined : qk];
});

/** The queries' positions, [batch or 1, sequence]. For a first prompt the kernel reads only the first given one. */
function positionsOf(
  g: G,
  by: { positions: Value | undefined; before: Value; empty: boolean; queries: Length; isPrompt: () => Value },
): Value {
  const { positions, before, empty, queries, isPrompt } = by;
  const counted = following(g, g.Reshape(before, g.ints([-1, 1])), queries);
  if (positions === undefined) return counted;
  const first = g.Slice(positions, g.ints([0, 0]), g.ints([1, 1]), g.ints([0, 1]));
  const prompt = following(g, first, queries);
  return empty ? prompt : g.Where(isPrompt(), prompt, positions);
}

/**
 * The cache with new rows appended to those of each sequence, [batch, heads, capacity, size]; unused rows are zero. It
 * grows only if the total exceeds it.
 */
function inCache(g: G, past: Value, now: Value, before: Value, total: Value): Value {
  const [old, added] = [g.length(past, 2), g.length(now, 2)];
  const capacity = g.Max([g.vector([old]), g.Reshape(asInt64(g, total), g.ints([1]))]);
  const [batch, heads, , size] = sizesOf(g, now);
  const zeros = g.Expand(g.like(now, 0), g.vector([batch, heads, 1, size]));
  const all = g.Concat([past, now, zeros], { axis: 2 });
  const at = counting(g, capacity, 2);
  const fresh = g.Sub(at, before);
  const end = g.vector([g.plus(old, added)]);
  const row = g.Where(g.Less(at, before), at, g.Min([g.Add(fresh, g.vector([old])), end]));
  return g.GatherElements(all, g.Expand(row, g.vector([batch, heads, capacity, size])), { axis: 2 });
}
