/** Products: bilinear, so a step of 1 is exact but for rounding. */
import { type Case, f } from '../support/gradients/harness.ts';

const one = { linear: true, step: 1, tolerance: 1e-12 } as const;
const pairs: readonly (readonly [readonly number[], readonly number[]])[] = [
  [
    [2, 3],
    [3, 4],
  ],
  [
    [5, 2, 3],
    [3, 4],
  ],
  [
    [5, 2, 3],
    [5, 3, 4],
  ],
  [
    [2, 3],
    [5, 3, 4],
  ],
  [
    [6, 5, 2, 3],
    [6, 5, 3, 4],
  ],
  [
    [6, 5, 2, 3],
    [3, 4],
  ],
  [
    [6, 5, 2, 3],
    [5, 3, 4],
  ],
  [
    [6, 1, 2, 3],
    [1, 5, 3, 4],
  ],
  [
    [1, 2, 3],
    [5, 3, 4],
  ],
  [[3], [3]],
  [[3], [3, 4]],
  [[2, 3], [3]],
  [[3], [5, 3, 4]],
  [[5, 2, 3], [3]],
  [
    [1, 3],
    [3, 1],
  ],
  [
    [0, 3],
    [3, 4],
  ],
  [
    [0, 2, 3],
    [0, 3, 4],
  ],
  [
    [0, 2, 3],
    [3, 4],
  ],
];
const flags = [0, 1];

export const rows: readonly Case[] = [
  ...[
    [1, 1],
    [2, 2],
    [2, 3, 3],
    [2, 1, 4, 4],
    [0, 2, 2],
  ].map((shape): Case => ({ op: 'Det', in: [f(shape)], dtype: 'float32' })),
  ...pairs.map(([a, b]): Case => ({ op: 'MatMul', in: [f(a), f(b)], ...one })),
  // Over a batch this contracts nothing, and ONNX Runtime 1.30 leaves the result of its fused Transpose and MatMul unwritten then.
  { op: 'MatMul', in: [f([5, 0, 3]), f([3, 4])], ...one, modes: ['static'] },
  ...flags.flatMap((transA) =>
    flags.flatMap((transB) =>
      [undefined, [], [4], [2, 1], [1, 4], [2, 4]].map(
        (c): Case => ({
          op: 'Gemm',
          in: [f(transA ? [3, 2] : [2, 3]), f(transB ? [4, 3] : [3, 4]), c === undefined ? undefined : f(c)],
          attrs: c?.length === 2 ? { transA, transB } : { transA, transB, alpha: 0.5, beta: -1.5 },
          ...one,
        }),
      ),
    ),
  ),
  { op: 'Gemm', in: [f([0, 3]), f([3, 4]), f([4])], ...one },
  { op: 'Gemm', in: [f([2, 3]), f([3, 4]), f([1, 1])], attrs: { beta: 0 }, ...one },
  { op: 'Gemm', in: [f([2, 3]), f([3, 4]), f([1])], attrs: { alpha: 0 }, ...one },
];
