/** Fourier transforms, frames and blocks put together: linear in the signal. */
import { type Case, f, int64, k } from '../support/gradients/harness.ts';

const row = (op: Case['op'], inputs: Case['in'], attrs: object = {}, more: Partial<Case> = {}): Case => ({
  op,
  in: inputs,
  attrs,
  linear: true,
  opset: 20,
  // Other lengths than powers of two go through chirps, which the kernel has to seven digits.
  tolerance: 1e-6,
  ...more,
});
const scalar = (value: number) => k([value], []);

export const rows: readonly Case[] = [
  ...[8, 7].flatMap((n) => [
    row('DFT', [f([2, n, 1]), undefined, scalar(1)]),
    row('DFT', [f([2, n, 2]), undefined, scalar(1)]),
    row('DFT', [f([2, n, 2]), undefined, scalar(1)], { inverse: 1 }),
    row('DFT', [f([2, n, 1]), undefined, scalar(1)], { onesided: 1 }),
    row('DFT', [f([2, n, 1]), scalar(5), scalar(1)], { onesided: 1 }),
    row('DFT', [f([2, n, 2]), scalar(11), scalar(-2)], { inverse: 1 }),
    row('DFT', [f([2, n, 2]), scalar(4)]),
  ]),
  row('DFT', [f([3, 4, 2]), undefined, scalar(0)]),
  row('DFT', [f([2, 3, 5, 1]), undefined, scalar(-3)], { onesided: 1 }),
  row('DFT', [f([2, 5, 2]), int64([6], []), scalar(1)], {}, { is: 'a length that is computed' }),
  ...[8, 9].map((n) => row('DFT', [f([2, 5, 2]), scalar(n), scalar(1)], { inverse: 1, onesided: 1 })),

  ...[0, 1].flatMap((onesided) => [
    row('STFT', [f([2, 13, 1]), scalar(3), f([4])], { onesided }),
    row('STFT', [f([2, 12, 1]), scalar(2), f([4]), scalar(4)], { onesided }),
    row('STFT', [f([1, 9, 1]), scalar(4), undefined, scalar(5)], { onesided }),
  ]),

  row('Col2Im', [f([2, 12, 6]), k([3, 4]), k([2, 2])], {}, { dtype: 'float32', tolerance: 1e-5 }),
  row(
    'Col2Im',
    [f([2, 12, 6]), k([4, 5]), k([3, 2])],
    { dilations: [1, 2], pads: [1, 0, 0, 1], strides: [1, 2] },
    { dtype: 'float32', tolerance: 1e-5 },
  ),
  row('Col2Im', [f([1, 6, 6]), k([6]), k([3])], { pads: [1, 1], strides: [1] }, { dtype: 'float32', tolerance: 1e-5 }),
  row('Col2Im', [f([1, 8, 8]), k([3, 3, 3]), k([2, 2, 2])], {}, { dtype: 'float32', tolerance: 1e-5 }),
];
