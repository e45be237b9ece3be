/**
 * Operators that read an image between its elements. Places lie off the elements and the
 * middles between them, where interpolation has kinks and steps.
 */
import { between, type Case, type Domain, distinct, f, fixed, int64, k } from '../support/gradients/harness.ts';
import type { Exceptions } from '../support/gradients/tables.ts';

const row = (op: Case['op'], inputs: Case['in'], attrs: object = {}, more: Partial<Case> = {}): Case => ({
  op,
  in: inputs,
  attrs,
  // Without a kernel for float64.
  ...(op === 'MaxRoiPool' ? { dtype: 'float32' } : {}),
  ...more,
});

/** Offsets of up to an element, off whole numbers and halves. */
const offsets: Domain = (next) => Math.floor(3 * next()) - 1 + 0.2 + 0.2 * next();

/** Places in an image of `length` elements, some outside, as a grid names them: -1 and 1 are the edges or the outermost elements. */
const gridOf =
  (length: number, aligned: boolean): Domain =>
  (next, i, n) => {
    const place = ((i * 5 + 2) % n) * ((length + 2) / n) - 1.5;
    const off = Math.floor(place) + 0.2 + 0.2 * next();
    return aligned ? (2 * off) / (length - 1) - 1 : (2 * off + 1) / length - 1;
  };

const grid = (mode: string, padding_mode: string, align_corners: number, more: Partial<Case> = {}): Case =>
  // Square, so that one domain fits both axes.
  row(
    'GridSample',
    [f([2, 2, 4, 4]), f([2, 3, 2, 2], gridOf(4, align_corners === 1))],
    { mode, padding_mode, align_corners },
    { opset: 20, ...more },
  );

export const rows: readonly Case[] = [
  ...['zeros', 'border', 'reflection'].flatMap((padding) =>
    [0, 1].flatMap((aligned) => ['linear', 'nearest', 'cubic'].map((mode) => grid(mode, padding, aligned))),
  ),
  row(
    'GridSample',
    [f([2, 2, 3, 3, 3]), f([2, 2, 1, 2, 3], gridOf(3, false))],
    { mode: 'linear', padding_mode: 'border' },
    { opset: 20 },
  ),
  row('GridSample', [f([1, 2, 1, 5]), f([1, 4, 1, 2], gridOf(5, false))], { padding_mode: 'zeros' }, { opset: 22 }),
  row('GridSample', [f([3, 2, 2, 3]), f([3, 2, 2, 2], gridOf(3, false))], {}, { is: 'three images', opset: 20 }),
  row(
    'GridSample',
    [f([1, 2, 1, 4]), f([1, 3, 2, 2], gridOf(4, true))],
    { padding_mode: 'reflection', align_corners: 1 },
    { is: 'mirrored about the only row', opset: 20 },
  ),
  row('GridSample', [f([0, 2, 4, 4]), f([0, 3, 2, 2])], { padding_mode: 'border' }, { opset: 20 }),

  ...['half_pixel', 'output_half_pixel'].flatMap((coordinate_transformation_mode) => [
    row(
      'RoiAlign',
      [f([2, 2, 5, 6]), fixed([3, 4], [0.3, 0.6, 4.1, 3.7, 1.2, 1.1, 5.4, 4.3, 0.4, 0.2, 2.3, 2.9]), k([1, 0, 1])],
      {
        coordinate_transformation_mode,
        output_height: 2,
        output_width: 3,
        sampling_ratio: 2,
      },
    ),
    row(
      'RoiAlign',
      [f([2, 2, 5, 6]), fixed([3, 4], [0.3, 0.6, 4.1, 3.7, 1.2, 1.1, 5.4, 4.3, 0.4, 0.2, 0.7, 0.9]), k([1, 0, 1])],
      {
        coordinate_transformation_mode,
        output_height: 2,
        output_width: 1,
        spatial_scale: 0.875,
      },
    ),
    row('RoiAlign', [f([2, 2, 5, 6], distinct), fixed([2, 4], [0.3, 0.6, 4.1, 3.7, 1.2, 1.1, 5.4, 4.3]), k([1, 0])], {
      coordinate_transformation_mode,
      output_height: 2,
      output_width: 2,
      sampling_ratio: 2,
      mode: 'max',
    }),
  ]),
  row(
    'RoiAlign',
    [f([1, 2, 5, 6]), f([2, 4], [0.3, 0.7, 4.3, 3.5, 1.2, 1.4, 4.2, 4.4]), int64([0, 0])],
    { output_height: 2, output_width: 2, sampling_ratio: 1 },
    { is: 'regions as values' },
  ),
  row(
    'RoiAlign',
    [f([1, 2, 5, 6]), f([2, 4], [-3.1, -2.4, 8.3, 7.2, -0.9, -0.8, 6.5, 5.6]), int64([0, 0])],
    { output_height: 3, output_width: 4, sampling_ratio: 2 },
    { is: 'regions that reach out of the image, by less and by more than an element' },
  ),
  row(
    'RoiAlign',
    [
      f([1, 2, 5, 6], (...at) => distinct(...at) - 4),
      fixed([2, 4], [-3.1, -2.4, 8.3, 7.2, -0.9, -0.8, 6.5, 5.6]),
      k([0, 0]),
    ],
    { output_height: 3, output_width: 4, sampling_ratio: 2, mode: 'max' },
    { is: 'the largest sample of regions that reach out of the image' },
  ),
  row(
    'RoiAlign',
    [f([1, 2, 5, 6]), fixed([2, 4], [1.2, 1.1, 3.4, 1.1, 0.3, 0.6, 4.1, 3.7]), k([0, 0])],
    { output_height: 2, output_width: 2 },
    { is: 'a region without a height' },
  ),
  row(
    'RoiAlign',
    [f([1, 2, 5, 6], distinct), fixed([2, 4], [1.2, 1.1, 3.4, 1.1, 0.3, 0.6, 4.1, 3.7]), k([0, 0])],
    { output_height: 2, output_width: 2, mode: 'max' },
    { is: 'the largest sample of a region without a height' },
  ),
  row(
    'RoiAlign',
    [f([1, 2, 5, 6]), f([0, 4]), int64([], [0])],
    { output_height: 2, output_width: 2, sampling_ratio: 1 },
    { is: 'no region' },
  ),

  row('MaxRoiPool', [f([2, 2, 5, 6], distinct), fixed([3, 5], [1, 0, 0, 4, 3, 0, 1, 1, 5, 4, 1, 2, 2, 2, 2])], {
    pooled_shape: [2, 3],
  }),
  row(
    'MaxRoiPool',
    [f([1, 2, 5, 6], distinct), fixed([2, 5], [0, 4, 3, 9, 8, 0, 4, 3, 2, 1])],
    { pooled_shape: [2, 3] },
    { is: 'bins outside the image, and a region that ends before it starts' },
  ),
  row('MaxRoiPool', [f([1, 2, 6, 6], distinct), fixed([2, 5], [0, 0, 0, 8, 7, 0, 3, 1, 11, 9])], {
    pooled_shape: [2, 2],
    spatial_scale: 0.5,
  }),

  row(
    'DeformConv',
    [f([2, 2, 4, 4]), f([3, 2, 2, 2]), f([2, 8, 3, 3], offsets)],
    { kernel_shape: [2, 2] },
    { opset: 19 },
  ),
  row(
    'DeformConv',
    [f([1, 4, 5, 5]), f([2, 2, 3, 3]), f([1, 36, 3, 2], offsets), f([2]), f([1, 18, 3, 2], between(0.2, 1))],
    { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 0, 1, 1], group: 2, offset_group: 2, dilations: [1, 1] },
    { opset: 22 },
  ),
  row(
    'DeformConv',
    [f([2, 4, 5, 4]), f([2, 2, 2, 2]), f([2, 16, 3, 3], offsets), undefined, f([2, 8, 3, 3], between(0.2, 1))],
    { kernel_shape: [2, 2], dilations: [2, 1], group: 2, offset_group: 2 },
    { opset: 22 },
  ),
  row('MaxRoiPool', [f([1, 2, 4, 4]), f([0, 5])], { pooled_shape: [2, 2] }, { is: 'no region' }),
];

/** What the tests would make for every operator, and cannot for these. */
export const exceptions: Exceptions = {
  MaxRoiPool: { before: 22 },
  RoiAlign: { before: 22 },
  DeformConv: { empty: 'the MatMul of its gradient is fused to one that refuses an empty batch' },
};
