/**
 * Empty batches. ONNX Runtime 1.30 itself does not run Attention, TopK, GroupNormalization and SoftmaxCrossEntropyLoss on one, nor
 * the fused product that the gradient of Resize becomes.
 */
import { type Case, f, int64, k } from './harness.ts';

const float32 = { dtype: 'float32' } as const;
export const rows: readonly Case[] = [
  { op: 'Conv', in: [f([0, 3, 7]), f([4, 3, 3]), f([4])], ...float32 },
  { op: 'Conv', in: [f([0, 4, 7]), f([4, 2, 3]), f([4])], attrs: { group: 2, strides: [2] }, ...float32 },
  { op: 'ConvTranspose', in: [f([0, 3, 7]), f([3, 4, 3]), f([4])], ...float32 },
  { op: 'MaxPool', in: [f([0, 3, 7])], attrs: { kernel_shape: [2] } },
  { op: 'AveragePool', in: [f([0, 3, 7])], attrs: { kernel_shape: [2], pads: [1, 0] }, ...float32 },
  { op: 'GlobalAveragePool', in: [f([0, 3, 7])], ...float32 },
  {
    op: 'RotaryEmbedding',
    in: [f([0, 3, 24]), f([5, 3]), f([5, 3]), int64([], [0, 3])],
    attrs: { num_heads: 4 },
    opset: 23,
    ...float32,
  },
  { op: 'InstanceNormalization', in: [f([0, 4, 3]), f([4]), f([4])], ...float32 },
  { op: 'TensorScatter', in: [f([0, 5, 3]), f([0, 2, 3]), int64([], [0])], opset: 24 },
  { op: 'GatherElements', in: [f([0, 3]), int64([], [0, 2])], attrs: { axis: 1 } },
  { op: 'ScatterElements', in: [f([3, 2]), int64([], [0, 2]), f([0, 2])], attrs: { reduction: 'add' } },
  { op: 'Einsum', in: [f([0, 3]), f([3, 4])], attrs: { equation: 'ij,jk->ik' } },
  { op: 'DepthToSpace', in: [f([0, 4, 2, 2])], attrs: { blocksize: 2, mode: 'CRD' } },
  { op: 'Pad', in: [f([0, 3]), k([0, 1, 0, 1])], attrs: { mode: 'edge' } },
  { op: 'Slice', in: [f([0, 4]), k([-1]), k([-9]), k([1]), k([-2])] },
  { op: 'Slice', in: [f([3, 4]), k([2]), k([2]), k([1])] },
  { op: 'CumSum', in: [f([0, 4]), k([1], [])] },
  { op: 'Trilu', in: [f([0, 4])] },
  { op: 'PRelu', in: [f([0, 3]), f([3])], ...float32 },
  { op: 'BatchNormalization', in: [f([0, 3]), f([3]), f([3]), f([3]), f([3], () => 1)] },
  { op: 'LpPool', in: [f([0, 3, 5])], attrs: { kernel_shape: [2] }, ...float32 },
  { op: 'LRN', in: [f([0, 5, 3, 1])], attrs: { size: 3 }, ...float32 },
  { op: 'CumProd', in: [f([0, 3]), k([1], [])], opset: 26 },
  { op: 'GatherND', in: [f([0, 3]), { ...int64([], [0, 2]), sized: true }] },
  { op: 'ReverseSequence', in: [f([4, 0, 2]), int64([], [0])] },
];
