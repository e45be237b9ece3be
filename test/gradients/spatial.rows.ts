/** Image-like tensors: all linear. */
import { type Case, f, fixed, int64, k } from '../support/gradients/harness.ts';

const linear = { dtype: 'float32', linear: true, tolerance: 2e-5 } as const;
const row = (op: Case['op'], inputs: Case['in'], attrs: object = {}, more: Partial<Case> = {}): Case => ({
  op,
  in: inputs,
  attrs,
  ...linear,
  ...more,
});
const x = [2, 3, 4, 5];
const scales = (values: readonly number[]): Case['in'][number] => fixed([values.length], values);

const regions = (values: readonly number[]): Case['in'][number] => fixed([values.length], values);
const crop = { coordinate_transformation_mode: 'tf_crop_and_resize', extrapolation_value: 2.5 };
/** One ratio for both axes: known lengths only. */
const kept = { modes: ['static'] } as const;

export const rows: readonly Case[] = [
  row('CenterCropPad', [f([5, 4]), k([2, 7])]),
  row('CenterCropPad', [f([5, 4, 3]), k([8, 1])], { axes: [0, -2] }),
  row('CenterCropPad', [f([5, 4]), int64([5, 4])]),
  ...[0, 1].flatMap((align_corners) => [
    row('AffineGrid', [f([2, 2, 3]), k([2, 3, 4, 5])], { align_corners }, { opset: 20 }),
    row('AffineGrid', [f([2, 3, 4]), k([2, 3, 4, 5, 2])], { align_corners }, { opset: 20 }),
  ]),
  row('MaxUnpool', [f([1, 1, 2, 2]), int64([1, 3, 9, 14], [1, 1, 2, 2])], { kernel_shape: [2, 2], strides: [2, 2] }),
  ...['nearest', 'linear', 'cubic'].flatMap((mode) => [
    row('Resize', [f(x), undefined, scales([1, 1, 2, 1.6])], { mode }),
    row('Resize', [f(x), undefined, scales([1, 1, 0.6, 0.5])], { mode }),
    row('Resize', [f(x), undefined, undefined, k([2, 3, 7, 3])], {
      mode,
      coordinate_transformation_mode: 'align_corners',
    }),
    row('Resize', [f(x), undefined, undefined, k([2, 3, 4, 9])], {
      mode,
      coordinate_transformation_mode: 'pytorch_half_pixel',
    }),
  ]),
  row(
    'Resize',
    [f(x), undefined, scales([1, 1, 1.1, 1.1])],
    { mode: 'linear' },
    { is: 'scaled, though the lengths stay' },
  ),
  // Regions inside, beyond the edge, of one output each, and turned round.
  ...['linear', 'nearest', 'cubic'].flatMap((mode) => [
    row('Resize', [f(x), regions([0, 0, 0.1, 0.2, 1, 1, 0.7, 0.9]), undefined, k([2, 3, 6, 4])], { ...crop, mode }),
    row('Resize', [f(x), regions([0, 0, -0.3, 0.1, 1, 1, 0.8, 1.4]), scales([1, 1, 2, 1.6])], { ...crop, mode }),
    row('Resize', [f(x), regions([0.9, 0.1, 0.2, 0.8]), undefined, k([4, 1])], { ...crop, mode, axes: [2, 3] }),
  ]),
  row('Resize', [f(x), undefined, undefined, k([7, 9])], { axes: [2, 3], mode: 'linear', antialias: 1 }),
  row('Resize', [f(x), undefined, undefined, k([2, 3])], { axes: [-2, -1], mode: 'linear', antialias: 1 }),
  row('Resize', [f(x), undefined, scales([2, 3])], {
    axes: [1, 2],
    coordinate_transformation_mode: 'asymmetric',
    nearest_mode: 'floor',
  }),
  row('Resize', [f([1, 2, 4, 4]), undefined, scales([1, 1, 2, 2])], {
    mode: 'cubic',
    exclude_outside: 1,
    cubic_coeff_a: -0.5,
  }),
  ...['not_larger', 'not_smaller'].flatMap((keep_aspect_ratio_policy) =>
    ['linear', 'nearest', 'cubic'].flatMap((mode) =>
      [
        [3, 8],
        [9, 7],
        [7, 9],
        [6, 7],
      ].map((sizes) =>
        row('Resize', [f(x), undefined, undefined, k(sizes)], { axes: [2, 3], keep_aspect_ratio_policy, mode }, kept),
      ),
    ),
  ),
  row(
    'Resize',
    [f(x), undefined, undefined, k([2, 8])],
    { axes: [2, 3], keep_aspect_ratio_policy: 'not_larger' },
    { modes: ['symbolic'], refused: 'not_larger' },
  ),
  row('AffineGrid', [f([0, 2, 3]), k([0, 1, 2, 2])], {}, { opset: 20 }),
  row('MaxUnpool', [f([0, 1, 2]), int64([], [0, 1, 2])], { kernel_shape: [2] }),
  row('Resize', [f([0, 3]), undefined, undefined, k([0, 5])], { mode: 'linear' }),
];
