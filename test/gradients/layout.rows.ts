/** Operators that move elements: linear, so a step of 1 is exact. */
import { type Case, f, int64, k } from './harness.ts';

const one = { linear: true, step: 1, tolerance: 1e-12 } as const;
const x = [2, 3, 4];
const row = (op: Case['op'], inputs: Case['in'], attrs: object = {}, more: Partial<Case> = {}): Case => ({
  op,
  in: inputs,
  attrs,
  ...one,
  ...more,
});

export const rows: readonly Case[] = [
  row('Reshape', [f(x), k([4, 6])]),
  row('Reshape', [f(x), k([0, -1])]),
  row('Reshape', [f(x), int64([3, 8])]),
  row('Reshape', [f([1]), k([], [0])]),
  row('Reshape', [f([]), k([1, 1])]),
  row('Reshape', [f([0, 3]), k([3, 0])], { allowzero: 1 }),
  ...[-3, -2, -1, 0, 1, 2, 3].map((axis) => row('Flatten', [f(x)], { axis })),
  row('Squeeze', [f([1, 3, 1]), k([0, -1])]),
  row('Squeeze', [f([1, 3, 1])]),
  row('Unsqueeze', [f([2, 3]), k([0, -1])]),
  row('Unsqueeze', [f([]), k([0])]),
  ...[
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
  ].map((perm) => row('Transpose', [f(x)], { perm })),
  row('Transpose', [f(x)]),
  row('Transpose', [f([])]),
  row('Transpose', [f([0, 3])]),
  row('Expand', [f([3, 1]), k([2, 3, 4])]),
  row('Expand', [f([3]), k([3])]),
  row('Expand', [f([3, 1]), k([1, 4])]),
  row('Expand', [f([3, 1]), int64([2, 1, 4])]),
  row('Expand', [f([]), k([2, 3])]),
  row('Expand', [f([1, 3]), k([0, 3])]),
  ...[0, 1, -1].map((axis) => row('Concat', [f(x), f(x)], { axis })),
  row('Concat', [f([1]), f([3]), f([2])], { axis: 0 }),
  row('Concat', [f([2, 1, 4]), f([2, 5, 4])], { axis: -2 }),
  row('Concat', [f([2, 0]), f([2, 3])], { axis: 1 }),
  row('Concat', [f(x)], { axis: 0 }),
  row('Split', [f(x)], { axis: 2, num_outputs: 2 }, { outputs: 2, loss: [0, 1] }),
  row('Split', [f(x), k([1, 3])], { axis: -1 }, { outputs: 2, loss: [1] }),
  row('Split', [f(x), k([1, 3])], { axis: 2 }, { outputs: 2, loss: [0] }),
  row('Split', [f([5])], { num_outputs: 3 }, { outputs: 3, loss: [0, 1, 2] }),
  row('Tile', [f([2, 3]), k([2, 3])]),
  row('Tile', [f([2, 3]), int64([1, 2])]),
  row('Tile', [f([3]), k([0])]),
  row('Tile', [f([]), k([], [0])]),
  row('Trilu', [f([2, 3, 4])]),
  row('Trilu', [f([3, 4]), k([1], [])], { upper: 0 }),
  row('Trilu', [f([3, 4]), int64([-1], [])], { upper: 1 }),
  ...[0, 1].flatMap((exclusive) =>
    [0, 1].map((reverse) => row('CumSum', [f([2, 4]), k([1], [])], { exclusive, reverse })),
  ),
  row('CumSum', [f([2, 4]), k([-2], [])]),
  ...['DCR', 'CRD'].map((mode) => row('DepthToSpace', [f([2, 8, 2, 3])], { blocksize: 2, mode })),
  row('SpaceToDepth', [f([2, 2, 4, 6])], { blocksize: 2 }),
  ...[0, 1].flatMap((exclusive) =>
    [0, 1].map(
      (reverse): Case => ({ op: 'CumProd', in: [f([2, 4]), k([1], [])], attrs: { exclusive, reverse }, opset: 26 }),
    ),
  ),
  { op: 'CumProd', in: [f([2, 3], [0, 2, 3, 0, 0, 1]), k([-1], [])], opset: 26, is: 'zeros' },
  { op: 'CumProd', in: [f([3, 2]), k([0], [])], opset: 26 },
];
