/** Operators that pick or place elements: linear in the data, so a step of 1 is exact. */
import { type Arg, bool, type Case, distinct, f, int32, int64, k, sized } from '../support/gradients/harness.ts';
import type { Exceptions } from '../support/gradients/tables.ts';

const one = { linear: true, step: 1, tolerance: 1e-12 } as const;
const row = (op: Case['op'], inputs: Case['in'], attrs: object = {}, more: Partial<Case> = {}): Case => ({
  op,
  in: inputs,
  attrs,
  ...one,
  ...more,
});
/** The same integers as constants and as graph inputs. */
const both = (make: (ints: (values: readonly number[], shape?: readonly number[]) => Arg) => Case): Case[] => [
  make(k),
  { ...make(int64), is: 'dynamic' },
  { ...make(int32), is: 'dynamic int32' },
];
const big = 2 ** 40;

export const rows: readonly Case[] = [
  // scalar, one element, repeated, distinct, permutation, matrix of indices, negative, none
  ...(
    [
      [[2], []],
      [[-1], []],
      [[1], [1]],
      [[-2], [1, 1]],
      [[0, 2, 2, 0], [4]],
      [[2, -3], [2]],
      [[2, 0, -2], [3]],
      [
        [0, 1, 2, -1, 0, 0],
        [2, 3],
      ],
      [[], [0]],
    ] as const
  ).flatMap(([values, shape]) =>
    both((ints) => row('Gather', [f([3, 4]), ints(values, shape)])).concat(
      both((ints) => row('Gather', [f([2, 3, 4]), ints(values, shape)], { axis: 1 })),
      both((ints) => row('Gather', [f([2, 3]), ints(values, shape)], { axis: -1 })),
    ),
  ),
  row('Gather', [f([0, 3]), int64([1, 1])], { axis: 1 }),
  ...both((ints) => row('GatherElements', [f([3, 2]), ints([0, 1, 0, -1], [2, 2])])),
  ...both((ints) => row('GatherElements', [f([2, 3]), ints([0, 0, 2, 1, -3, 1], [2, 3])], { axis: 1 })),
  ...[k, int64].flatMap((ints) => [
    row('GatherND', [f([2, 3, 4]), sized(ints([0, 1, 1, 2, 0, 1], [3, 2]))]),
    row('GatherND', [f([2, 3]), sized(ints([0, 0, -1, -1], [2, 2]))]),
    row('GatherND', [f([4, 3]), sized(ints([1, 1, -1, 0], [2, 2, 1]))]),
    row('GatherND', [f([2, 3, 4]), sized(ints([0, 2, 2, -1], [2, 2, 1]))], { batch_dims: 1 }),
    row('GatherND', [f([2, 3, 4]), sized(ints([1, 3, 0, 0], [2, 2]))], { batch_dims: 1 }),
    row('GatherND', [f([2, 2, 3]), sized(ints([1, 1, 0, 2], [2, 2, 1]))], { batch_dims: 2 }),
    row('GatherND', [f([2, 3]), sized(ints([], [0, 2]))]),
  ]),
  ...(['none', 'add'] as const).flatMap((reduction) => [
    row('ScatterElements', [f([3, 2]), int64([0, 1, 2, 0], [2, 2]), f([2, 2])], { reduction }),
    row('ScatterElements', [f([2, 3]), k([2, -3], [2, 1]), f([2, 1])], { axis: 1, reduction }),
    row('ScatterND', [f([4, 3]), int64([1, -1], [2, 1]), f([2, 3])], { reduction }),
    row('ScatterND', [f([2, 3]), k([0, 1, 1, 2], [2, 2]), f([2])], { reduction }),
  ]),
  row('ScatterElements', [f([3]), k([1, 1, 0]), f([3])], { reduction: 'add' }, { is: 'repeated' }),
  row('ScatterND', [f([3]), k([1, 1, 0], [3, 1]), f([3])], { reduction: 'add' }, { is: 'repeated' }),
  ...(['mul', 'max', 'min'] as const).map(
    (reduction): Case => ({
      op: 'ScatterElements',
      in: [f([4], distinct), int64([1, 1, 0, -1]), f([4], [0.31, -0.2, 0.52, 0.13])],
      attrs: { reduction },
    }),
  ),
  {
    op: 'ScatterElements',
    in: [f([5], [0, 2, 0, 4, 3]), int64([0, 1, 1, 2, 4]), f([5], [3, 0, 5, 0, 2])],
    attrs: { reduction: 'mul' },
    is: 'zeros',
  },
  // starts, ends, axes, steps
  ...(
    [
      [[1], [3], [1], [1]],
      [
        [0, 1],
        [2, -1],
        [0, 2],
        [1, 1],
      ],
      [[-2], [big], [-1], [1]],
      [[-100], [2], [0], [1]],
      [[2], [1], [1], [1]],
      [[5], [9], [2], [1]],
      [[0], [big], [2], [2]],
      [[1], [big], [2], [2]],
      [[1], [4], [2], [3]],
      [[-1], [-big], [2], [-1]],
      [[4], [0], [2], [-2]],
      [[100], [-big], [2], [-3]],
      [
        [3, 0],
        [-big, 2],
        [2, 1],
        [-2, 1],
      ],
      [
        [1, -1],
        [big, -big],
        [1, 2],
        [2, -3],
      ],
      [[1], [3], [2], [-1]],
    ] as const
  ).flatMap(([starts, ends, axes, steps]) => {
    const step = steps.every((n) => n === 1) ? undefined : k(steps);
    return [k, int64].map(
      (ints): Case =>
        row('Slice', [f([2, 3, 5]), ints(starts), ints(ends), k(axes), step], {}, ints === k ? {} : { is: 'dynamic' }),
    );
  }),
  row('Slice', [f([3, 4]), k([1]), k([2])]),
  row('Slice', [f([3, 4]), k([1, 1]), k([2, 3])]),
  row('Slice', [f([0, 4]), k([1]), k([3]), k([1])]),
  // Pads: begins, then ends.
  ...[k, int64].flatMap((ints) => [
    row('Pad', [f([2, 3]), ints([1, 0, 2, 1])]),
    row('Pad', [f([2, 3]), ints([1, 0, 2, 1]), f([])]),
    row('Pad', [f([2, 4]), ints([0, -1, 1, -2]), f([])]),
    row('Pad', [f([2, 4]), ints([1, -1]), f([]), k([-1])]),
    ...['edge', 'reflect', 'wrap'].flatMap((mode) =>
      [
        row('Pad', [f([3, 4]), ints([2, 1, 1, 3])], { mode }, { opset: 19 }),
        row('Pad', [f([2, 4]), ints([0, 2])], { mode }, { opset: 19, is: 'zeros' }),
      ].slice(0, 1),
    ),
    row('Pad', [f([2, 4]), ints([3, 2]), undefined, k([-1])], { mode: 'reflect' }),
    row('Pad', [f([1, 4]), ints([3, 2]), undefined, k([0])], { mode: 'edge' }),
  ]),
  row('Pad', [f([0, 3]), k([1, 0, 2, 1]), f([])]),
  ...['linear', 'circular'].flatMap((mode) => [
    row('TensorScatter', [f([2, 5, 3]), f([2, 2, 3]), int64([1, 3])], { mode }, { opset: 24 }),
    row('TensorScatter', [f([2, 3, 5]), f([2, 3, 2]), int64([1, 0])], { mode, axis: -1 }, { opset: 24 }),
    row('TensorScatter', [f([2, 2, 5, 3]), f([2, 2, 2, 3])], { mode }, { opset: 24 }),
  ]),
  row('TensorScatter', [f([2, 5, 3]), f([2, 3, 3]), int64([4, 7])], { mode: 'circular', axis: 1 }, { opset: 24 }),
  row('Pad', [f([2, 3]), k([1, 0, 2, 1]), f([1])]),
  row('Pad', [f([1, 4]), int64([0, 1, 0, 2])], { mode: 'reflect' }, { is: 'a length of 1 left as it is' }),
  row('Slice', [f([2, 5]), k([7]), k([9]), k([1])]),
  // Axes, steps and depths that only run time knows.
  row('Slice', [f([2, 5]), int64([1]), int64([3])]),
  row('Slice', [f([2, 5]), k([1]), k([3]), int64([1])]),
  row('Slice', [f([2, 5]), k([4]), k([0]), k([1]), int64([-2])]),
  row('Slice', [f([2, 5, 3]), int64([-1, 0]), int64([-9, 3]), int64([1, 2]), int64([-1, 2])]),
  row('Pad', [f([3, 4]), k([1, 1]), undefined, int64([0])], { mode: 'edge' }),
  row('Pad', [f([3, 4]), int64([2, 1]), undefined, int64([-1])], { mode: 'reflect' }),
  row('GatherND', [f([2, 3]), int64([0, 1], [2, 1])]),
  row('GatherND', [f([2, 3, 4]), int64([0, 2, 2, -1], [2, 2, 1])], { batch_dims: 1 }),
  ...(['mul', 'max', 'min'] as const).flatMap((reduction): Case[] => [
    { op: 'ScatterND', in: [f([4], distinct), int64([1, -1], [2, 1]), f([2], [0.31, -0.2])], attrs: { reduction } },
    {
      op: 'ScatterND',
      in: [f([2, 3, 2], distinct), k([0, 1, 1, 2], [2, 2]), f([2, 2], [0.31, -0.27, 0.52, 0.13])],
      attrs: { reduction },
    },
  ]),
  row('ScatterND', [f([4, 2, 3]), int64([2], [1, 1]), f([1, 2, 3])]),
  row('ScatterND', [f([2, 3, 4]), int64([0, 1, 1, 2], [2, 1, 2]), f([2, 1, 4])]),
  row('ScatterND', [f([2, 3]), int64([], [0, 2]), f([0])]),
  row('ScatterElements', [f([2, 3, 4]), int64([3, 0, -2, 1], [2, 1, 2]), f([2, 1, 2])], { axis: -1 }),
  row('GatherElements', [f([2, 3, 4]), int64([3, 0, -2, 1], [2, 1, 2])], { axis: -1 }),
  // More indices than elements.
  row('GatherElements', [f([2, 2]), int64([0, 1, 1, 0, 1, 0], [2, 3])], { axis: 1 }),
  { op: 'ScatterElements', in: [f([3], [1, 2, 3]), int64([1]), f([1], [2])], attrs: { reduction: 'max' }, is: 'ties' },
  { op: 'Unique', in: [f([3, 4], distinct)], outputs: 2 },
  { op: 'Unique', in: [f([5, 2], distinct)], attrs: { axis: 0, sorted: 0 }, outputs: 1 },
  { op: 'Unique', in: [f([2, 4, 3], distinct)], attrs: { axis: -2 }, outputs: 4 },
  row('Compress', [f([3, 4]), bool([0, 1, 1])], { axis: 0 }),
  row('Compress', [f([3, 4]), bool([0, 1, 1, 0, 1])]),
  row('ReverseSequence', [f([4, 3, 2]), int64([1, 4, 3])], { time_axis: 0, batch_axis: 1 }),
  row('ReverseSequence', [f([3, 4, 2]), int64([1, 4, 3])], { time_axis: 1, batch_axis: 0 }),
  ...[0, 1].map(
    (largest): Case => ({
      op: 'TopK',
      in: [f([3, 5], distinct), k([2])],
      attrs: { largest, axis: -1 },
      outputs: 2,
    }),
  ),
  { op: 'TopK', in: [f([3, 5], distinct), int64([2])], attrs: { axis: 0, sorted: 0 }, outputs: 2 },
  { op: 'TopK', in: [f([2, 4, 3], distinct), k([4])], attrs: { axis: 1, largest: 0 }, outputs: 2 },
  { op: 'TopK', in: [f([5], distinct), k([1])], outputs: 2 },
  row('GatherElements', [f([0, 3]), int64([], [0, 2])], { axis: 1 }),
  row('ScatterElements', [f([3, 2]), int64([], [0, 2]), f([0, 2])], { reduction: 'add' }),
  row('Pad', [f([0, 3]), k([0, 1, 0, 1])], { mode: 'edge' }),
  row('Slice', [f([0, 4]), k([-1]), k([-9]), k([1]), k([-2])]),
  row('Slice', [f([3, 4]), k([2]), k([2]), k([1])]),
  row('GatherND', [f([0, 3]), sized(int64([], [0, 2]))]),
  row('ReverseSequence', [f([4, 0, 2]), int64([], [0])]),
];

/** What the tests would make for every operator, and cannot for these. */
export const exceptions: Exceptions = {
  Unique: { random: 'the shape of its result depends on the values' },
  TopK: { empty: 'ONNX Runtime 1.30 ends the process on an empty batch' },
};
