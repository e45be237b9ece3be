/** Cases of convolutions, pools, normalizations, attention, recurrent layers. */
import type { Choices } from './choices.ts';
import type { Make } from './oracle.ts';

const window = (c: Choices): { strides: number[]; dilations: number[]; pads?: number[]; auto_pad?: string } => ({
  strides: [c.int(1, 3), c.int(1, 2)],
  ...c.of<{ pads?: number[]; auto_pad?: string; dilations: number[] }>([
    { pads: [c.int(0, 1), c.int(0, 1), c.int(0, 1), c.int(0, 1)], dilations: [c.int(1, 2), 1] },
    { auto_pad: 'SAME_UPPER', dilations: [1, 1] },
    { auto_pad: 'SAME_LOWER', dilations: [1, 1] },
    { auto_pad: 'VALID', dilations: [1, c.int(1, 2)] },
  ]),
});

export const neuralCases: Readonly<Record<string, Make>> = {
  Conv: (c, g, input) =>
    g.Conv(input('float32', [2, 4, c.int(6, 9), c.int(6, 9)]), input('float32', [6, 2, 3, 2]), undefined, {
      ...window(c),
      group: 2,
    }),
  ConvInteger: (c, g, input) =>
    g.ConvInteger(
      input('uint8', [2, 2, c.int(6, 9), 7]),
      input('uint8', [4, 2, 3, 2]),
      undefined,
      undefined,
      window(c),
    ),
  ConvTranspose: (c, g, input) => {
    const { strides, dilations, pads, auto_pad } = window(c);
    return g.ConvTranspose(input('float32', [2, 4, c.int(3, 6), 5]), input('float32', [4, 3, 3, 2]), undefined, {
      ...{ strides, dilations, pads, auto_pad: auto_pad ?? 'NOTSET', group: 2 },
      output_padding: (strides[0] ?? 1) > 1 && auto_pad === undefined ? [1, 0] : undefined,
    });
  },
  'ConvTranspose to a shape': (c, g, input) =>
    g.ConvTranspose(input('float32', [2, 4, 5, 5]), input('float32', [4, 3, 3, 3]), undefined, {
      strides: [2, 2],
      output_shape: [c.int(9, 11), 10],
    }),
  MaxPool: (c, g, input) => {
    const { strides, dilations, pads, auto_pad } = window(c);
    return g.node({
      ...{ op: 'MaxPool', inputs: [input('float32', [2, 3, c.int(6, 9), c.int(6, 9)])], outputs: c.int(1, 2) },
      attrs: {
        kernel_shape: [3, 2],
        strides,
        dilations,
        pads,
        auto_pad: auto_pad ?? 'NOTSET',
        ceil_mode: auto_pad === undefined ? c.int(0, 1) : 0,
      },
    });
  },
  AveragePool: (c, g, input) => {
    const { strides, pads, auto_pad } = window(c);
    return g.AveragePool(input('float32', [2, 3, c.int(6, 9), c.int(6, 9)]), {
      kernel_shape: [3, 2],
      strides,
      pads,
      auto_pad: auto_pad ?? 'NOTSET',
      ceil_mode: auto_pad === undefined ? c.int(0, 1) : 0,
    });
  },
  LpPool: (c, g, input) =>
    g.LpPool(input('float32', [2, 3, c.int(6, 9), 7]), { kernel_shape: [3, 2], strides: [2, 2] }),
  GlobalAveragePool: (_, g, input) => g.GlobalAveragePool(input('float32', [2, 3, 4, 5])),
  MaxUnpool: (_, g, input) =>
    g.MaxUnpool(input('float32', [1, 1, 2, 2]), input('int64', [1, 1, 2, 2]), undefined, {
      kernel_shape: [2, 2],
      strides: [2, 2],
    }),
  RoiAlign: (_, g, input) =>
    g.RoiAlign(input('float32', [1, 2, 5, 5]), input('float32', [3, 4]), input('int64', [3], [0, 0, 0]), {
      output_height: 2,
      output_width: 3,
    }),
  GridSample: (_, g, input) => g.GridSample(input('float32', [2, 3, 5, 5]), input('float32', [2, 4, 6, 2])),
  AffineGrid: (_, g, input) => g.AffineGrid(input('float32', [2, 2, 3]), g.ints([2, 3, 4, 5])),
  Col2Im: (_, g, input) => g.Col2Im(input('float32', [1, 8, 4]), g.ints([4, 4]), g.ints([2, 2]), { strides: [2, 2] }),
  LRN: (_, g, input) => g.LRN(input('float32', [2, 3, 4, 5]), { size: 3 }),
  LayerNormalization: (c, g, input) => {
    const [dims, axis] = [[2, 3, 4], c.of([-1, 1, 2])];
    const scale = input('float32', dims.slice(axis));
    return g.node({ op: 'LayerNormalization', inputs: [input('float32', dims), scale], attrs: { axis }, outputs: 3 });
  },
  RMSNormalization: (_, g, input) => g.RMSNormalization(input('float32', [2, 3, 4]), input('float32', [4])),
  GroupNormalization: (_, g, input) =>
    g.GroupNormalization(input('float32', [2, 4, 3]), input('float32', [4]), input('float32', [4]), { num_groups: 2 }),
  InstanceNormalization: (_, g, input) =>
    g.InstanceNormalization(input('float32', [2, 4, 3]), input('float32', [4]), input('float32', [4])),
  BatchNormalization: (_, g, input) => {
    const c4 = [1, 2, 3, 4].map(() => input('float32', [4], [1, 1, 1, 1]));
    return g.node({ op: 'BatchNormalization', inputs: [input('float32', [2, 4, 3]), ...c4], outputs: 1 });
  },
  MeanVarianceNormalization: (_, g, input) => g.MeanVarianceNormalization(input('float32', [2, 4, 3, 3])),
  LpNormalization: (_, g, input) => g.LpNormalization(input('float32', [2, 4])),
  Dropout: (c, g, input) => g.node({ op: 'Dropout', inputs: [input('float32', c.dims(1, 3))], outputs: 2 }),
  QuantizeLinear: (c, g, input) => {
    const zero = c.of([undefined, g.constant('int8', [], [0])]);
    const q = g.QuantizeLinear(input('float32', [2, 3]), g.float(0.1), zero);
    return [q, g.DequantizeLinear(q, g.float(0.1), zero)];
  },
  DynamicQuantizeLinear: (_, g, input) =>
    g.node({ op: 'DynamicQuantizeLinear', inputs: [input('float32', [2, 3])], outputs: 3 }),
  'Attention 4-D': (c, g, input) => {
    const [past, group] = [c.flip(), c.int(1, 2)];
    const kv = [2, 2, 3, 4];
    const cache = past ? [input('float32', [2, 2, 5, 4]), input('float32', [2, 2, 5, 4])] : [];
    return g.node({
      op: 'Attention',
      inputs: [input('float32', [2, 2 * group, 6, 4]), input('float32', kv), input('float32', kv), undefined, ...cache],
      outputs: past ? c.of([3, 4]) : c.of([1, 3]),
    });
  },
  'Attention 3-D': (c, g, input) => {
    const past = c.flip();
    const cache = past ? [input('float32', [2, 2, 5, 4]), input('float32', [2, 2, 5, 3])] : [];
    return g.node({
      op: 'Attention',
      inputs: [
        input('float32', [2, 6, 16]),
        input('float32', [2, 3, 8]),
        input('float32', [2, 3, 6]),
        undefined,
        ...cache,
      ],
      attrs: { q_num_heads: 4, kv_num_heads: 2 },
      outputs: past ? c.of([3, 4]) : c.of([1, 3]),
    });
  },
  TensorScatter: (_, g, input) =>
    g.TensorScatter(input('float32', [2, 3, 6, 4]), input('float32', [2, 3, 2, 4]), input('int64', [2], [0, 1])),
  RotaryEmbedding: (_, g, input) =>
    g.RotaryEmbedding(input('float32', [2, 3, 4, 8]), input('float32', [2, 4, 4]), input('float32', [2, 4, 4])),
  LSTM: (c, g, input) => {
    const [directions, direction] = c.of<[number, string]>([
      [1, 'forward'],
      [2, 'bidirectional'],
    ]);
    return g.node({
      op: 'LSTM',
      inputs: [
        input('float32', [5, 2, 3]),
        input('float32', [directions, 16, 3]),
        input('float32', [directions, 16, 4]),
      ],
      ...{ attrs: { hidden_size: 4, direction }, outputs: c.of([1, 3]) },
    });
  },
  GRU: (_, g, input) =>
    g.node({
      op: 'GRU',
      inputs: [input('float32', [5, 2, 3]), input('float32', [1, 12, 3]), input('float32', [1, 12, 4])],
      attrs: { hidden_size: 4 },
      outputs: 2,
    }),
  RNN: (_, g, input) =>
    g.node({
      op: 'RNN',
      inputs: [input('float32', [5, 2, 3]), input('float32', [1, 4, 3]), input('float32', [1, 4, 4])],
      attrs: { hidden_size: 4 },
      outputs: 2,
    }),
  DFT: (c, g, input) => g.DFT(input('float32', [2, 8, c.int(1, 2)]), c.of([undefined, g.int(6)]), g.int(1)),
  'DFT one-sided': (c, g, input) =>
    g.DFT(input('float32', [2, 8, 1]), c.of([undefined, g.int(7)]), g.int(-2), { onesided: 1 }),
  STFT: (c, g, input) =>
    g.STFT(input('float32', [2, 20, 1]), g.int(c.int(2, 5)), input('float32', [8]), undefined, {
      onesided: c.int(0, 1),
    }),
  MelWeightMatrix: (_, g) => g.MelWeightMatrix(g.int(8), g.int(16), g.int(8192), g.float(0), g.float(4096)),
  '~sequences': (_, g, input) => {
    const [a, b] = [input('float32', [2, 3]), input('float32', [2, 3])];
    const list = g.SequenceConstruct([a, b]);
    const parts = g.SplitToSequence(a, g.int(1), { axis: 0 });
    return [
      g.SequenceAt(list, g.int(1)),
      g.SequenceLength(list),
      g.ConcatFromSequence(list, { axis: 0 }),
      g.ConcatFromSequence(list, { axis: 1, new_axis: 1 }),
      g.SequenceAt(parts, g.int(0)),
    ];
  },
};
