/** Reductions and the softmax family. */
import {
  type Case,
  type Domain,
  distinct,
  f,
  fixed,
  int64,
  k,
  normal,
  offZero,
  positive,
} from '../support/gradients/harness.ts';

const x = [2, 3, 4];
/** Every way of writing the axes. */
function reduction(op: Case['op'], domain: Domain = normal, more: Partial<Case> = {}): Case[] {
  const row = (axes: Case['in'][number], attrs: object, shape: readonly number[] = x): Case => ({
    op,
    in: [f(shape, domain), axes],
    attrs,
    ...more,
  });
  return [
    ...[0, 1].flatMap((keepdims) => [
      row(undefined, { keepdims }),
      row(k([1]), { keepdims }),
      row(k([-1]), { keepdims }),
      row(k([0, 2]), { keepdims }),
      row(k([2, -3]), { keepdims }),
      row(k([0]), { keepdims }, [3]),
      row(k([], [0]), { keepdims, noop_with_empty_axes: 1 }),
      row(k([], [0]), { keepdims }),
      row(int64([1]), { keepdims }),
    ]),
    row(undefined, { keepdims: 0 }, []),
    row(k([1]), { keepdims: 0 }, [1, 4]),
  ];
}
const empty = (op: Case['op']): Case[] => [
  { op, in: [f([0, 3]), k([0])] },
  { op, in: [f([0, 3]), k([1])], attrs: { keepdims: 0 } },
];
const softmax = (op: Case['op']): Case[] => [
  ...[-1, 0, 1, 2].map((axis): Case => ({ op, in: [f(x)], attrs: { axis } })),
  { op, in: [f([3])] },
  { op, in: [f([0, 3])] },
  { op, in: [f([2, 1])] },
  { op, in: [f([2, 3, 2, 2])], attrs: { axis: 1 } },
  { op, in: [f([2, 0, 3])], attrs: { axis: 2 } },
  { op, in: [f([2, 3], [1, 2, -Infinity, 0, 1, 2])], modes: ['static'], skip: [0], is: 'masked' },
];

export const rows: readonly Case[] = [
  ...reduction('ReduceSum'),
  ...empty('ReduceSum'),
  ...reduction('ReduceMean'),
  { op: 'ReduceMean', in: [f([0, 3]), k([1])] },
  ...reduction('ReduceSumSquare'),
  ...empty('ReduceSumSquare'),
  ...reduction('ReduceL1', offZero),
  ...reduction('ReduceL2', offZero),
  {
    op: 'ReduceL2',
    in: [f([2, 3], [0, 0, 0, 1, 2, 3]), k([1])],
    is: 'a row of zeros',
  },
  { op: 'ReduceLogSumExp', in: [f([2, 3], [900, 901, 899, -900, -901, -902]), k([1])], is: 'far from zero' },
  ...reduction('ReduceLogSum', positive),
  ...reduction('ReduceLogSumExp'),
  ...reduction('ReduceMax', distinct),
  ...reduction('ReduceMin', distinct),
  ...(['ReduceMax', 'ReduceMin'] as const).map(
    (op): Case => ({
      op,
      in: [
        f(
          [2, 3],
          [1, 1, 0.5, 0.5, 1, 1].map((v) => (op === 'ReduceMax' ? v : -v)),
        ),
        k([1]),
      ],
      is: 'ties',
    }),
  ),
  ...reduction('ReduceProd', offZero),
  { op: 'ReduceProd', in: [f([3, 3], [0, 2, 3, 0, 0, 4, 5, -1, 2]), k([1])], is: 'zeros' },
  ...softmax('Softmax'),
  ...softmax('LogSoftmax').filter((c) => c.is === undefined),
  ...(['ReduceL1', 'ReduceL2', 'ReduceLogSum', 'ReduceLogSumExp', 'ReduceMax', 'ReduceMin', 'ReduceProd'] as const).map(
    (op): Case => ({ op, in: [f([0, 3]), k([1])] }),
  ),
];
void fixed;
