/** Contributed attention and rotary embeddings; the kernels are float32. */
import { type Case, f, int32, int64 } from '../support/gradients/harness.ts';
import type { Exceptions } from '../support/gradients/tables.ts';

type Inputs = Case['in'];
const row =
  (op: Case['op'], base: object) =>
  (inputs: Inputs, attrs: object = {}, more: Partial<Case> = {}): Case => ({
    op,
    in: inputs,
    attrs: { ...base, ...attrs },
    dtype: 'float32',
    ...more,
  });
const none = undefined;

// ---------------------------------------------------------------- MultiHeadAttention

const mha = row('com.microsoft.MultiHeadAttention', { num_heads: 2 });
const q = f([2, 3, 8]);
const k = f([2, 5, 8]);
const v = f([2, 5, 12]);
const narrow = f([2, 5, 8]);
const all = { outputs: 3, loss: [0, 1, 2] };
const cache = (length: number) => f([2, 2, length, 4]);

const multiHead: readonly Case[] = [
  mha([q, k, v]),
  mha([q, k, v], { scale: 0.3 }),
  mha([q, k, v, f([28])], {}, { is: 'bias' }),
  mha([q, f([2, 3, 8]), f([2, 3, 12])], { unidirectional: 1 }),
  mha([q, k, v], { unidirectional: 1 }, { is: 'more keys than queries' }),
  mha([q, k, v, none, int32([5, 2])], {}, { is: 'lengths' }),
  mha([q, k, v, none, int32([4, 2, 0, 3, 6, 0, 4, 6])], {}, { is: 'lengths and cumulated ones' }),
  mha([q, k, v, none, int32([1, 1, 1, 1, 0, 0, 1, 0, 1, 1], [2, 5])], {}, { is: 'padding' }),
  mha([q, f([2, 3, 8]), f([2, 3, 12]), none, int32([0, 1, 1, 1, 1, 0], [2, 3])], { unidirectional: 1 }),
  mha([
    q,
    k,
    v,
    none,
    int32(
      Array.from({ length: 30 }, (_, i) => Number(i % 4 !== 1)),
      [2, 3, 5],
    ),
  ]),
  mha([q, k, v, none, int32([1, 1, 0, 1, 1, 1, 1, 1, 1, 0], [2, 5])], { mask_filter_value: -3 }),
  mha([q, k, v, none, none, f([2, 2, 3, 5])]),
  mha([q, k, v, f([28]), int32([5, 2]), f([1, 1, 3, 5])]),
  mha([q, k, v, none, none, f([2, 1, 3, 5])]),
  mha([q, f([2, 2, 5, 4]), f([2, 2, 5, 4])], {}, { is: 'heads apart' }),
  mha([q, k, narrow, none, none, none, cache(0), cache(0)], {}, { ...all, is: 'past 0' }),
  mha([q, k, narrow, none, none, none, cache(2), cache(2)], {}, { ...all, is: 'past' }),
  mha([q, f([2, 3, 8]), f([2, 3, 8]), f([24]), none, none, cache(2), cache(2)], { unidirectional: 1 }, all),
  // Without the outputs for keys and values the kernel forgets the past.
  mha(
    [q, k, narrow, none, int32([1, 1, 1, 1, 0, 1, 1, 0, 1, 0, 1, 1, 1, 1], [2, 7]), none, cache(2), cache(2)],
    {},
    all,
  ),
  mha([q, k, v, none, none, f([2, 2, 3, 5])], {}, { outputs: 4, loss: [0, 3], is: 'scores' }),
];

// ---------------------------------------------------------------- RotaryEmbedding

const r = row('com.microsoft.RotaryEmbedding', {});
const table = (width: number) => f([8, width]);
const at = int64([0, 2, 2, 5, 1, 2], [2, 3]);
const from = int64([3]);

const rotary: readonly Case[] = [
  r([f([2, 3, 24]), at, table(3), table(3)]),
  r([f([2, 3, 24]), at, table(3), table(3)], { interleaved: 1, scale: 2 }),
  r([f([2, 3, 24]), from, table(3), table(3)], { num_heads: 4 }),
  r([f([2, 3, 24]), from, table(3), table(3)], { interleaved: 1 }),
  r([f([2, 3, 24]), at, table(2), table(2)], { num_heads: 4, rotary_embedding_dim: 4 }),
  r([f([2, 3, 24]), at, table(2), table(2)], { num_heads: 4, rotary_embedding_dim: 4, interleaved: 1 }),
  r([f([2, 4, 3, 6]), at, table(3), table(3)]),
  r([f([2, 4, 3, 6]), from, table(3), table(3)], { interleaved: 1 }),
  r([f([2, 4, 3, 6]), at, table(2), table(2)], { num_heads: 4, rotary_embedding_dim: 4 }),
].map((c) => ({ ...c, linear: true }));

const m = row('com.microsoft.MRotaryEmbedding', { mrope_section: [2, 1, 1], num_heads: 3 });
/** Time, height and width of each token. */
const streams = int64([0, 2, 2, 5, 1, 2, 1, 1, 3, 0, 4, 2, 7, 0, 1, 6, 5, 3], [3, 2, 3]);
const multimodal: readonly Case[] = [
  m([f([2, 3, 24]), streams, table(4), table(4)]),
  m([f([2, 3, 24]), streams, table(4), table(4)], { mrope_layout: 1 }),
  m([f([2, 3, 24]), streams, table(4), table(4)], { mrope_section: [1, 2, 1], interleaved: 1 }),
  m([f([2, 3, 48]), streams, table(6), table(6)], {
    mrope_section: [2, 2, 2],
    mrope_layout: 1,
    rotary_embedding_dim: 12,
  }),
  m([f([2, 3, 3, 8]), streams, table(4), table(4)], {}, { is: 'heads apart' }),
].map((c) => ({ ...c, linear: true }));

// ---------------------------------------------------------------- GroupQueryAttention

const gqa = row('com.microsoft.GroupQueryAttention', { num_heads: 4, kv_num_heads: 2 });
const sizes = { q: f([2, 3, 32]), k: f([2, 3, 16]), v: f([2, 3, 16]), past: f([2, 2, 0, 8]) };
const { past } = sizes;
const apart = [sizes.q, sizes.k, sizes.v] as const;
const packed = [f([2, 3, 64]), none, none] as const;
/** Both sequences are full, or the second one is padded. */
const full = [int32([2, 2]), int32([3], [])] as const;
const padded = [int32([2, 0]), int32([3], [])] as const;
/** Heads of 16, as rotary embeddings need. */
const wide = [f([2, 3, 64]), f([2, 3, 32]), f([2, 3, 32]), f([2, 2, 0, 16]), f([2, 2, 0, 16])] as const;
const turned = { do_rotary: 1 };
const room = [f([2, 2, 6, 16]), f([2, 2, 6, 16])] as const;
const going = [int32([4, 2]), int32([5], [])] as const;
const tables = [table(8), table(8)] as const;
/** With past rows, from which a batch of different lengths can only go on by one query each. */
const step = [f([2, 1, 32]), f([2, 1, 16]), f([2, 1, 16])] as const;
const old = (length: number) => f([2, 2, length, 8]);
const groupQuery: readonly Case[] = [
  gqa([...apart, none, none, ...full]),
  gqa([...apart, past, past, ...full], {}, { ...all, is: 'past 0' }),
  gqa([...packed, past, past, ...full], {}, { ...all, is: 'packed' }),
  gqa([...apart, past, past, ...padded], {}, { is: 'padded' }),
  gqa([...apart, past, past, ...full], { scale: 0.2, softcap: 1.5 }),
  gqa([...apart, past, past, ...full], { local_window_size: 1 }),
  gqa([...packed, past, past, ...full], { local_window_size: 2 }),
  gqa([...apart, past, past, ...padded], { local_window_size: 2 }, { is: 'padded' }),
  gqa([...apart, past, past, ...full], { kv_num_heads: 2, smooth_softmax: 1 }),
  gqa([...apart, past, past, ...full, none, none, none, none, f([4])], {}, { is: 'sinks' }),
  gqa([...apart, past, past, ...full, none, none, none, f([1, 4, 3, 3])], { softcap: 2 }, { is: 'bias' }),
  gqa([...apart, past, past, ...full, none, none, none, f([2, 1, 3, 3])], {}, { is: 'bias' }),
  gqa([...apart, past, past, ...padded], { causal: 0 }),
  gqa([...wide, ...full, ...tables], turned, all),
  gqa([...wide, ...full, ...tables], { ...turned, rotary_interleaved: 1 }),
  gqa([f([2, 3, 128]), none, none, ...wide.slice(3), ...full, ...tables], turned, { ...all, is: 'packed' }),
  gqa([...wide, ...padded, ...tables, int64([2, 3, 4, 0, 1, 2], [2, 3])], turned, { is: 'positions' }),
  gqa([...wide.slice(0, 3), ...room, ...full, ...tables, int64([2, 3, 4, 0, 1, 2], [2, 3])], turned, {
    ...all,
    is: 'positions of a first prompt with room behind it',
  }),
  gqa([f([2, 1, 64]), f([2, 1, 32]), f([2, 1, 32]), ...room, ...going, ...tables, int64([6, 1], [2, 1])], turned, {
    ...all,
    is: 'positions behind a past',
  }),
  gqa([f([2, 3, 128]), f([2, 3, 64]), f([2, 3, 64]), f([2, 2, 0, 32]), f([2, 2, 0, 32]), ...full, ...tables], turned, {
    is: 'a part turned',
  }),
  gqa([...apart, past, past, ...full], { qk_output: 1, softcap: 2 }, { outputs: 4, loss: [0, 3] }),
  gqa([...apart, past, past, ...full], { qk_output: 2 }, { outputs: 4, loss: [0, 3] }),
  gqa([...step, old(4), old(4), int32([4, 2]), int32([5], [])], {}, { ...all, is: 'past that grows' }),
  gqa([...step, old(6), old(6), int32([4, 2]), int32([5], [])], {}, { ...all, is: 'past with room' }),
];

export const rows: readonly Case[] = [...multiHead, ...rotary, ...multimodal, ...groupQuery];

/** What the tests would make for every operator, and cannot for these. */
export const exceptions: Exceptions = {
  'com.microsoft.MRotaryEmbedding': { empty: 'the batch is the second axis of its positions' },
  'com.microsoft.GroupQueryAttention': {
    random: 'a compile fixes its lengths and caches, so the source computes something else',
  },
};
