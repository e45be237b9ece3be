/** Image-like tensors: all linear. */
import { type Case, f, fixed, int64, k } from './harness.ts';

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
  row(
    'Resize',
    [f(x), fixed([8], [0, 0, 0, 0, 1, 1, 1, 1]), scales([1, 1, 2, 2])],
    { mode: 'linear', coordinate_transformation_mode: 'tf_crop_and_resize' },
    { modes: ['static'], refused: 'tf_crop_and_resize' },
  ),
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
  row(
    'Resize',
    [f(x), undefined, undefined, k([2, 8])],
    { axes: [2, 3], keep_aspect_ratio_policy: 'not_larger' },
    { opset: 18, modes: ['static'], refused: 'not_larger' },
  ),
];
