/** Attention and rotary embeddings; the kernels are float32. */
import { bool, type Case, f, int64 } from '../support/gradients/harness.ts';
import type { Exceptions } from '../support/gradients/tables.ts';

const a = (inputs: Case['in'], attrs: object = {}, more: Partial<Case> = {}): Case => ({
  op: 'Attention',
  in: inputs,
  attrs,
  opset: 23,
  dtype: 'float32',
  ...more,
});
const q4 = f([2, 4, 3, 5]);
const k4 = f([2, 4, 6, 5]);
const v4 = f([2, 4, 6, 7]);
const shared = [q4, f([2, 2, 6, 5]), f([2, 2, 6, 7])] as const;
const flat = [f([2, 3, 20]), f([2, 6, 10]), f([2, 6, 14])] as const;
const heads = { q_num_heads: 4, kv_num_heads: 2 };
const mask = (shape: readonly number[]): number[] =>
  Array.from({ length: shape.reduce((x, y) => x * y, 1) }, (_, i) => (i % 3 === 1 ? 0 : 1));
/** One query that sees no key. */
const blind = mask([3, 6]).map((m, i) => (i < 6 ? 0 : m));
const r = (inputs: Case['in'], attrs: object = {}): Case => ({
  op: 'RotaryEmbedding',
  in: inputs,
  attrs,
  opset: 23,
  dtype: 'float32',
  linear: true,
});
const at = int64([0, 2, 2, 5, 1, 2], [2, 3]);

export const rows: readonly Case[] = [
  a([q4, k4, v4]),
  a([q4, k4, v4], { scale: 0.3 }),
  a([q4, k4, v4], { softcap: 1.5 }),
  a(shared),
  a(flat, heads),
  a([f([2, 3, 20]), f([2, 6, 20]), f([2, 6, 28])], { q_num_heads: 4, kv_num_heads: 4 }),
  a([f([2, 4, 6, 5]), k4, v4], { is_causal: 1 }),
  a([q4, k4, v4], { is_causal: 1 }),
  a([q4, k4, v4, f([3, 6])]),
  a([q4, k4, v4, f([2, 1, 3, 6])]),
  a([...shared, f([4, 3, 6])]),
  a([q4, k4, v4, bool(mask([3, 6]), [3, 6])]),
  a([...flat, bool(mask([2, 1, 3, 6]), [2, 1, 3, 6])], heads),
  a([q4, k4, v4, bool(blind, [3, 6])], {}, { is: 'a query without keys' }),
  a(
    [q4, k4, v4, f([3, 8]), f([2, 4, 2, 5]), f([2, 4, 2, 7])],
    { is_causal: 1 },
    { outputs: 3, loss: [0, 1, 2], is: 'past' },
  ),
  a([...flat, undefined, f([2, 2, 2, 5]), f([2, 2, 2, 7])], heads, { outputs: 3, loss: [0, 1, 2], is: 'past' }),
  ...[0, 1, 2, 3].map((mode) =>
    a([q4, k4, v4, f([3, 6])], { qk_matmul_output_mode: mode, softcap: 2 }, { outputs: 4, loss: [0, 3] }),
  ),
  a([...flat, undefined, undefined, undefined, int64([4, 6])], heads, { opset: 24 }),
  a([...flat, bool(mask([3, 6]), [3, 6]), undefined, undefined, int64([3, 6])], heads, { opset: 24 }),
  a([...flat, undefined, undefined, undefined, int64([4, 6])], { ...heads, is_causal: 1 }, { opset: 24 }),
  a([q4, k4, v4, f([3, 6])], { softmax_precision: 11 }),
  r([f([2, 4, 3, 6]), f([2, 3, 3]), f([2, 3, 3])]),
  r([f([2, 4, 3, 6]), f([8, 3]), f([8, 3]), at]),
  r([f([2, 4, 3, 6]), f([8, 3]), f([8, 3]), at], { interleaved: 1 }),
  r([f([2, 3, 24]), f([8, 3]), f([8, 3]), at], { num_heads: 4 }),
  r([f([2, 3, 24]), f([2, 3, 3]), f([2, 3, 3])], { num_heads: 4, interleaved: 1 }),
  r([f([2, 3, 24]), f([8, 2]), f([8, 2]), at], { num_heads: 4, rotary_embedding_dim: 4 }),
  r([f([2, 4, 3, 6]), f([2, 3, 2]), f([2, 3, 2])], { rotary_embedding_dim: 4 }),
  r([f([0, 3, 24]), f([5, 3]), f([5, 3]), int64([], [0, 3])], { num_heads: 4 }),
];

/** What the tests would make for every operator, and cannot for these. */
export const exceptions: Exceptions = {
  Attention: { empty: 'ONNX Runtime 1.30 refuses an empty batch' },
};
