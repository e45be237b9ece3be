/** Normalizations. Scales lie off zero so that every term counts. */
import { type Case, distinct, f, fixed, offZero, positive } from '../support/gradients/harness.ts';
import type { Exceptions } from '../support/gradients/tables.ts';

const float32 = { dtype: 'float32' } as const;

export const rows: readonly Case[] = [
  ...[-1, 1, 2, 0, -2].flatMap((axis): Case[] => {
    const tail = [2, 3, 4].slice(axis < 0 ? axis : axis === 0 ? 0 : axis);
    return [
      { op: 'LayerNormalization', in: [f([2, 3, 4]), f(tail, offZero), f(tail)], attrs: { axis } },
      { op: 'LayerNormalization', in: [f([2, 3, 4]), f(tail, offZero)], attrs: { axis, epsilon: 0.1 } },
      { op: 'RMSNormalization', in: [f([2, 3, 4]), f(tail, offZero)], attrs: { axis, epsilon: 0.1 }, opset: 23 },
    ];
  }),
  ...[-1, 1].map((axis): Case => {
    const tail = axis === 1 ? [3, 4] : [4];
    return {
      op: 'LayerNormalization',
      in: [f([2, 3, 4]), f(tail, offZero), f(tail)],
      attrs: { axis, epsilon: 0.1 },
      ...float32,
    };
  }),
  // Both statistics come in float32 then, whatever the input is.
  { op: 'LayerNormalization', in: [f([2, 4]), f([4], offZero), f([4])], dtype: 'float16', step: 0.2, tolerance: 2e-2 },
  { op: 'LayerNormalization', in: [f([0, 3]), f([3], offZero), f([3])] },
  ...[
    [2, 3, 4, 5],
    [2, 3],
    [4, 3, 5],
    [0, 3, 2],
  ].map(
    (x): Case => ({
      op: 'BatchNormalization',
      in: [f(x), f([3], offZero), f([3]), f([3]), f([3], positive)],
      attrs: { epsilon: 0.2 },
    }),
  ),
  ...[
    [2, 3, 4, 5],
    [4, 3],
    [2, 3, 4],
  ].map(
    (x): Case => ({
      op: 'BatchNormalization',
      in: [f(x), f([3], offZero), f([3]), fixed([3]), fixed([3], positive)],
      attrs: { epsilon: 0.2, training_mode: 1 },
      outputs: 3,
      ...float32,
    }),
  ),
  { op: 'InstanceNormalization', in: [f([2, 3, 4]), f([3], offZero), f([3])], attrs: { epsilon: 0.1 }, ...float32 },
  { op: 'InstanceNormalization', in: [f([2, 3, 4, 2]), f([3], offZero), f([3])], ...float32 },
  ...[1, 2, 4].map(
    (num_groups): Case => ({
      op: 'GroupNormalization',
      in: [f([2, 4, 3, 2]), f([4], offZero), f([4])],
      attrs: { num_groups, epsilon: 0.1 },
      opset: 21,
      ...float32,
    }),
  ),
  { op: 'MeanVarianceNormalization', in: [f([2, 3, 2, 2], distinct)], ...float32 },
  { op: 'MeanVarianceNormalization', in: [f([2, 3, 4], distinct)], attrs: { axes: [1] }, ...float32 },
  ...[1, 2].flatMap((p) =>
    [0, -1].map((axis): Case => ({ op: 'LpNormalization', in: [f([3, 4], offZero)], attrs: { p, axis } })),
  ),
];

/** What the tests would make for every operator, and cannot for these. */
export const exceptions: Exceptions = {
  GroupNormalization: { empty: 'ONNX Runtime 1.30 refuses an empty batch' },
};
