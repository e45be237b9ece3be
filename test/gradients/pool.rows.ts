/** Pools. Averages are linear; maxima are taken over values that lie apart. Average pools have float32 kernels only. */
import { type Case, distinct, f, offZero, positive } from '../support/gradients/harness.ts';

const linear = { dtype: 'float32', linear: true, tolerance: 2e-5 } as const;
const max = (x: readonly number[], attrs: object, more: Partial<Case> = {}): Case => ({
  op: 'MaxPool',
  in: [f(x, distinct)],
  attrs,
  ...more,
});
const average = (x: readonly number[], attrs: object, more: Partial<Case> = {}): Case => ({
  op: 'AveragePool',
  in: [f(x)],
  attrs,
  ...linear,
  ...more,
});

export const rows: readonly Case[] = [
  max([2, 3, 7], { kernel_shape: [3] }),
  max([2, 3, 8], { kernel_shape: [2], strides: [2] }),
  max([2, 2, 5, 6], { kernel_shape: [3, 2], strides: [2, 1], pads: [1, 0, 1, 1] }),
  max([2, 2, 5, 6], { kernel_shape: [2, 2], strides: [2, 2], ceil_mode: 1 }),
  max([2, 2, 5, 6], { kernel_shape: [2, 2], dilations: [2, 3] }),
  max([2, 2, 5, 6], { kernel_shape: [3, 3], strides: [2, 2], auto_pad: 'SAME_UPPER' }),
  max([2, 2, 5, 6], { kernel_shape: [3, 2], strides: [2, 3], auto_pad: 'SAME_LOWER' }),
  max([2, 2, 5, 6], { kernel_shape: [3, 2], strides: [2, 2], auto_pad: 'VALID' }),
  max([2, 1, 8], { kernel_shape: [3], strides: [3], ceil_mode: 1, pads: [1, 1] }),
  max([1, 1, 4, 5, 4], { kernel_shape: [2, 2, 1], dilations: [2, 1, 1], strides: [1, 2, 3] }),
  max([2, 2, 5, 6], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 0, 1], storage_order: 1 }, { outputs: 2 }),
  max([2, 2, 5, 6], { kernel_shape: [2, 2], storage_order: 1 }, { outputs: 2 }),
  max([2, 2, 5, 6], { kernel_shape: [2, 2] }, { outputs: 2 }),
  max([1, 2, 4, 4, 3], { kernel_shape: [2, 2, 2], strides: [1, 2, 1], pads: [0, 1, 0, 0, 1, 0] }),
  ...[0, 1].flatMap((count_include_pad) => [
    average([2, 3, 7], { kernel_shape: [3], count_include_pad }),
    average([2, 3, 8], { kernel_shape: [3], strides: [2], pads: [1, 1], count_include_pad }),
    average([2, 2, 5, 6], { kernel_shape: [3, 2], strides: [2, 1], pads: [1, 0, 1, 1], count_include_pad }),
    average([2, 2, 5, 6], { kernel_shape: [2, 2], strides: [2, 3], ceil_mode: 1, count_include_pad }),
    average([2, 2, 6, 7], {
      kernel_shape: [3, 3],
      strides: [2, 2],
      pads: [1, 1, 1, 1],
      ceil_mode: 1,
      count_include_pad,
    }),
    average([2, 2, 5, 6], { kernel_shape: [3, 3], strides: [2, 2], auto_pad: 'SAME_UPPER', count_include_pad }),
    average([2, 2, 5, 6], {
      kernel_shape: [3, 3],
      strides: [2, 2],
      auto_pad: 'SAME_UPPER',
      ceil_mode: 1,
      count_include_pad,
    }),
    average([2, 2, 5, 6], { kernel_shape: [2, 2], auto_pad: 'SAME_LOWER', count_include_pad }),
    average([2, 2, 5, 6], { kernel_shape: [2, 2], strides: [3, 2], auto_pad: 'VALID', count_include_pad }),
    average(
      [2, 2, 7, 6],
      { kernel_shape: [2, 2], dilations: [2, 3], pads: [1, 0, 0, 1], count_include_pad },
      { opset: 19 },
    ),
    average([1, 2, 4, 4, 3], {
      kernel_shape: [2, 2, 2],
      strides: [1, 2, 1],
      pads: [0, 1, 0, 0, 1, 0],
      count_include_pad,
    }),
  ]),
  { op: 'GlobalAveragePool', in: [f([2, 3, 4, 5])], ...linear },
  { op: 'GlobalAveragePool', in: [f([2, 3, 4])], ...linear },
  { op: 'GlobalMaxPool', in: [f([2, 3, 4, 5], distinct)], dtype: 'float32' },
  ...[1, 2, 3].map((p): Case => ({ op: 'GlobalLpPool', in: [f([2, 3, 4], offZero)], attrs: { p }, dtype: 'float32' })),
  ...[1, 2, 3].map(
    (p): Case => ({
      op: 'LpPool',
      in: [f([2, 3, 5], offZero)],
      attrs: { p, kernel_shape: [2], strides: [2], pads: [1, 0] },
      dtype: 'float32',
    }),
  ),
  ...[
    { kernel_shape: [2], strides: [2], ceil_mode: 1 },
    { kernel_shape: [3], strides: [2], ceil_mode: 1, pads: [1, 0], dilations: [2] },
    { kernel_shape: [2], strides: [2], auto_pad: 'SAME_UPPER' },
  ].map(
    (attrs): Case => ({
      op: 'LpPool',
      in: [f([1, 2, 8 - attrs.strides.length * (attrs.kernel_shape[0] ?? 0)], positive)],
      attrs,
      dtype: 'float32',
    }),
  ),
  { op: 'LRN', in: [f([2, 5, 3, 1])], attrs: { size: 3, alpha: 0.5, beta: 0.75, bias: 1.5 }, dtype: 'float32' },
  { op: 'LRN', in: [f([2, 5, 2, 2])], attrs: { size: 5, alpha: 0.5, beta: 0.6, bias: 1 }, dtype: 'float32' },
];
