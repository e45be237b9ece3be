/** Cases of ONNX Runtime's contributed operators. */
import type { Builder } from '../../../src/graph/builder.ts';
import type { Value } from '../../../src/graph/model.ts';
import type { Make } from './oracle.ts';

const contrib = (
  g: Builder,
  op: string,
  inputs: readonly (Value | undefined)[],
  attrs: object = {},
  outputs = 1,
): Value[] => g.node({ op, domain: 'com.microsoft', inputs, attrs, outputs });

export const contribCases: Readonly<Record<string, Make>> = {
  FastGelu: (c, g, input) => contrib(g, 'FastGelu', [input('float32', c.dims(1, 3))]),
  'Gelu of com.microsoft': (c, g, input) => contrib(g, 'Gelu', [input('float32', c.dims(1, 3))]),
  QuickGelu: (c, g, input) => contrib(g, 'QuickGelu', [input('float32', c.dims(1, 3))]),
  BiasGelu: (_, g, input) => contrib(g, 'BiasGelu', [input('float32', [2, 3, 4]), input('float32', [4])]),
  FusedMatMul: (c, g, input) => {
    const [transA, transB] = [c.int(0, 1), c.int(0, 1)];
    return contrib(
      g,
      'FusedMatMul',
      [input('float32', transA === 1 ? [2, 4, 3] : [2, 3, 4]), input('float32', transB === 1 ? [5, 4] : [4, 5])],
      { transA, transB },
    );
  },
  FusedGemm: (c, g, input) => {
    const transB = c.int(0, 1);
    return contrib(g, 'FusedGemm', [input('float32', [3, 4]), input('float32', transB === 1 ? [5, 4] : [4, 5])], {
      transB,
      activation: 'Relu',
    });
  },
  MatMulNBits: (_, g, input) =>
    contrib(
      g,
      'MatMulNBits',
      [
        input('float32', [2, 3, 32]),
        g.constant('uint8', [8, 1, 16], new Array(128).fill(7)),
        g.constant('float32', [8], new Array(8).fill(1)),
      ],
      { K: 32, N: 8, bits: 4, block_size: 32 },
    ),
  SkipLayerNormalization: (_, g, input) => {
    const [x, s, w] = [input('float32', [2, 3, 8]), input('float32', [2, 3, 8]), input('float32', [8])];
    const out = contrib(g, 'SkipLayerNormalization', [x, s, w, w], {}, 4);
    return out.slice(0, 1);
  },
  SkipSimplifiedLayerNormalization: (_, g, input) =>
    contrib(g, 'SkipSimplifiedLayerNormalization', [
      input('float32', [2, 3, 8]),
      input('float32', [2, 3, 8]),
      input('float32', [8]),
    ]),
  'SimplifiedLayerNormalization of the default domain': (_, g, input) =>
    g.node({
      op: 'SimplifiedLayerNormalization',
      inputs: [input('float32', [2, 3, 8]), input('float32', [8])],
      outputs: 1,
    }),
  EmbedLayerNormalization: (_, g, input) => {
    const ids = input('int32', [2, 3]);
    const table = (n: number): Value => input('float32', [n, 8]);
    return contrib(
      g,
      'EmbedLayerNormalization',
      [ids, input('int32', [2, 3]), table(4), table(5), table(2), input('float32', [8]), input('float32', [8])],
      {},
      3,
    );
  },
  'SkipLayerNormalization with its sum': (_, g, input) => {
    const [x, s, w] = [input('float32', [2, 3, 8]), input('float32', [3, 8]), input('float32', [8])];
    const [y, , , sum] = contrib(g, 'SkipLayerNormalization', [x, s, w, w], {}, 4);
    return [y, sum].filter((v) => v !== undefined);
  },
  'SimplifiedLayerNormalization with its statistic': (_, g, input) =>
    g.node({
      op: 'SimplifiedLayerNormalization',
      inputs: [input('float32', [2, 3, 8]), input('float32', [3, 8])],
      attrs: { axis: 1 },
      outputs: 2,
    }),
  'FusedMatMul with batch axes inside': (c, g, input) => {
    const [transA, transB] = [c.int(0, 1), c.int(0, 1)];
    return contrib(
      g,
      'FusedMatMul',
      [input('float32', transA === 1 ? [4, 2, 3] : [3, 2, 4]), input('float32', transB === 1 ? [5, 2, 4] : [4, 2, 5])],
      { transA, transB, transBatchA: 1, transBatchB: 1 },
    );
  },
  'Attention of com.microsoft with other widths': (_, g, input) =>
    contrib(g, 'Attention', [input('float32', [2, 3, 6]), input('float32', [6, 20]), input('float32', [20])], {
      num_heads: 2,
      qkv_hidden_sizes: [6, 6, 8],
    }),
  'GroupQueryAttention with weights and rotated parts': (_, g, input) => {
    const cache = (): Value => input('float32', [1, 1, 5, 32]);
    const table = (): Value => input('float32', [9, 8]);
    return contrib(
      g,
      'GroupQueryAttention',
      [
        ...[input('float32', [1, 1, 128]), input('float32', [1, 1, 32]), input('float32', [1, 1, 32])],
        ...[cache(), cache(), g.constant('int32', [1], [5]), g.constant('int32', [], [6]), table(), table()],
      ],
      { num_heads: 4, kv_num_heads: 1, do_rotary: 1, qk_output: 2 },
      4,
    );
  },
  CausalConvWithState: (c, g, input) =>
    contrib(
      g,
      'CausalConvWithState',
      [
        ...[input('float32', [2, 3, 5]), input('float32', [3, 1, 4]), undefined],
        c.flip() ? input('float32', [2, 3, 3]) : undefined,
      ],
      {},
      2,
    ),
  LinearAttention: (c, g, input) => {
    const [heads, states] = c.flip() ? [4, 2] : [1, 2];
    const qkv = [input('float32', [2, 3, 4 * heads]), input('float32', [2, 3, 8]), input('float32', [2, 3, 6])];
    return contrib(g, 'LinearAttention', qkv, { q_num_heads: heads, kv_num_heads: states, update_rule: 'linear' }, 2);
  },
  MoE: (_, g, input) =>
    contrib(g, 'MoE', [
      ...[input('float32', [2, 3, 8]), input('float32', [6, 3]), input('float32', [3, 4, 8]), undefined],
      input('float32', [3, 8, 4]),
    ]),
  'RotaryEmbedding of com.microsoft with heads apart': (_, g, input) =>
    contrib(
      g,
      'RotaryEmbedding',
      [
        input('float32', [2, 4, 3, 16]),
        input('int64', [2, 3], [0, 1, 2, 0, 1, 2]),
        input('float32', [9, 4]),
        input('float32', [9, 4]),
      ],
      { num_heads: 4, rotary_embedding_dim: 8 },
    ),
  'Attention of com.microsoft': (c, g, input) => {
    const past = c.flip() ? input('float32', [2, 2, 2, 5, 4]) : undefined;
    const outputs = past === undefined ? c.int(1, 2) : 2;
    return contrib(
      g,
      'Attention',
      [input('float32', [2, 3, 6]), input('float32', [6, 24]), input('float32', [24]), undefined, past],
      { num_heads: 2 },
      outputs,
    );
  },
  MultiHeadAttention: (c, g, input) => {
    const past = c.flip() ? [input('float32', [2, 2, 5, 4]), input('float32', [2, 2, 5, 4])] : [undefined, undefined];
    return contrib(
      g,
      'MultiHeadAttention',
      [
        input('float32', [2, 3, 8]),
        input('float32', [2, 4, 8]),
        input('float32', [2, 4, 8]),
        undefined,
        undefined,
        undefined,
        ...past,
      ],
      { num_heads: 2 },
      3,
    );
  },
  'MultiHeadAttention with heads apart': (_, g, input) =>
    contrib(
      g,
      'MultiHeadAttention',
      [input('float32', [2, 3, 8]), input('float32', [2, 2, 4, 4]), input('float32', [2, 2, 4, 4])],
      { num_heads: 2 },
    ),
  GroupQueryAttention: (c, g, input) => {
    const packed = c.flip();
    const qkv = packed
      ? [input('float32', [1, 3, 48]), undefined, undefined]
      : [input('float32', [1, 3, 32]), input('float32', [1, 3, 8]), input('float32', [1, 3, 8])];
    const cache = [input('float32', [1, 1, 0, 8]), input('float32', [1, 1, 0, 8])];
    return contrib(
      g,
      'GroupQueryAttention',
      [...qkv, ...cache, g.constant('int32', [1], [2]), g.constant('int32', [], [3])],
      { num_heads: 4, kv_num_heads: 1 },
      3,
    );
  },
  'RotaryEmbedding of com.microsoft': (_, g, input) =>
    contrib(g, 'RotaryEmbedding', [
      input('float32', [2, 3, 16]),
      input('int64', [1], [0]),
      input('float32', [9, 4]),
      input('float32', [9, 4]),
    ]),
  DynamicQuantizeMatMul: (_, g, input) =>
    contrib(g, 'DynamicQuantizeMatMul', [input('float32', [2, 3, 4]), input('uint8', [4, 5]), g.float(0.1)]),
};
