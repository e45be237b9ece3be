/** Convolutions: float32 kernels only, but bilinear, so that a step of 1 is exact but for rounding (about 1e-6 here). */
import { type Case, f } from '../support/gradients/harness.ts';

const one = { dtype: 'float32', linear: true, tolerance: 2e-5 } as const;
const row = (op: Case['op'], x: readonly number[], w: readonly number[], attrs: object, bias?: number): Case => ({
  op,
  in: [f(x), f(w), bias === undefined ? undefined : f([bias])],
  attrs,
  ...one,
});

export const rows: readonly Case[] = [
  row('Conv', [2, 3, 7], [4, 3, 3], {}, 4),
  row('Conv', [2, 3, 7], [4, 3, 3], { pads: [1, 2], strides: [2] }),
  row('Conv', [2, 3, 8], [4, 3, 3], { pads: [1, 2], strides: [3] }),
  row('Conv', [2, 3, 9], [4, 3, 3], { dilations: [2], strides: [2] }),
  row('Conv', [2, 3, 8], [4, 3, 2], { dilations: [3], strides: [2], pads: [2, 0] }, 4),
  row('Conv', [2, 4, 7], [6, 2, 3], { group: 2, pads: [1, 1] }, 6),
  row('Conv', [2, 4, 7], [8, 1, 3], { group: 4, strides: [2], dilations: [2], pads: [1, 0] }),
  row('Conv', [2, 3, 5, 6], [4, 3, 3, 2], { pads: [1, 0, 0, 1], strides: [2, 1] }, 4),
  row('Conv', [2, 3, 5, 6], [4, 3, 1, 1], {}),
  row('Conv', [1, 2, 28, 28], [3, 2, 5, 5], { auto_pad: 'SAME_UPPER' }),
  row('Conv', [1, 2, 7, 8], [3, 2, 3, 4], { auto_pad: 'SAME_UPPER', strides: [2, 3] }),
  row('Conv', [1, 2, 7, 8], [3, 2, 4, 3], { auto_pad: 'SAME_LOWER', strides: [2, 2] }),
  row('Conv', [1, 2, 7, 8], [3, 2, 4, 2], { auto_pad: 'SAME_LOWER' }),
  row('Conv', [1, 2, 7, 8], [3, 2, 3, 3], { auto_pad: 'VALID', strides: [2, 3] }),
  row('Conv', [2, 6, 5, 4], [6, 1, 3, 1], { group: 6 }),
  row('Conv', [1, 2, 4, 5, 4], [3, 2, 2, 3, 2], { strides: [1, 2, 1], pads: [1, 0, 1, 0, 1, 0] }, 3),
  row('Conv', [1, 4, 3, 4, 3], [4, 2, 1, 1, 1], { group: 2 }, 4),
  row('Conv', [1, 2, 5, 5, 4], [2, 2, 2, 2, 2], { dilations: [2, 1, 2], strides: [2, 2, 1] }),
  row('Conv', [2, 3, 6, 6], [4, 3, 1, 1], { strides: [2, 2] }, 4),
  row('ConvTranspose', [2, 3, 5], [3, 4, 3], {}, 4),
  row('ConvTranspose', [2, 3, 5, 4], [3, 2, 2, 2], { strides: [2, 2] }, 2),
  row(
    'ConvTranspose',
    [1, 4, 3, 3],
    [4, 1, 3, 3],
    { group: 4, strides: [2, 2], pads: [1, 1, 1, 1], output_padding: [1, 1] },
    4,
  ),
  row('ConvTranspose', [1, 2, 4, 3], [2, 3, 2, 3], { auto_pad: 'VALID', dilations: [2, 1] }),
  row('ConvTranspose', [2, 3, 5], [3, 4, 3], { strides: [2], pads: [1, 0], output_padding: [1] }, 4),
  row('ConvTranspose', [2, 4, 5], [4, 3, 3], { group: 2, strides: [3], dilations: [2] }, 6),
  row('ConvTranspose', [2, 3, 4, 5], [3, 2, 3, 2], { strides: [2, 1], pads: [1, 0, 0, 1] }),
  row('ConvTranspose', [1, 2, 3, 3], [2, 3, 3, 3], { strides: [3, 2], output_shape: [10, 8] }),
  row('ConvTranspose', [1, 2, 3, 3], [2, 3, 3, 3], { strides: [3, 2], output_shape: [9, 7], output_padding: [1, 1] }),
  row('ConvTranspose', [1, 2, 3, 3], [2, 3, 3, 3], { strides: [3, 2], auto_pad: 'SAME_UPPER' }),
  row('ConvTranspose', [1, 2, 3, 3], [2, 3, 3, 3], { strides: [2, 2], auto_pad: 'SAME_LOWER' }),
  row('ConvTranspose', [1, 2, 2, 3, 2], [2, 3, 2, 2, 3], { strides: [2, 1, 1] }, 3),
  { op: 'Conv', in: [f([0, 3, 7]), f([4, 3, 3]), f([4])], dtype: 'float32' },
  { op: 'Conv', in: [f([0, 4, 7]), f([4, 2, 3]), f([4])], attrs: { group: 2, strides: [2] }, dtype: 'float32' },
];
