/** Elementwise operators. Tolerances: the harness's own unless a row says otherwise. */
import { between, bool, type Case, distinct, f, fixed, int64, normal, offZero, positive, uint8 } from './harness.ts';

const s = [2, 3];
/** Pairs of shapes that broadcast in every way: equal, leading, ones, both, scalar, empty. */
const pairs: readonly (readonly [readonly number[], readonly number[]])[] = [
  [s, s],
  [s, [3]],
  [[3], s],
  [s, [2, 1]],
  [
    [2, 1],
    [1, 3],
  ],
  [
    [4, 1, 3],
    [2, 1],
  ],
  [s, []],
  [[], []],
  [[1], s],
  [[0, 3], [3]],
  [
    [0, 3],
    [1, 1],
  ],
];
const binary = (op: Case['op'], a = normal, b = normal): Case[] =>
  pairs.map(([p, q]) => ({ op, in: [f(p, a), f(q, b)] }));
const unary = (op: Case['op'], domain = normal, more: Partial<Case> = {}): Case[] =>
  [[2, 3], [], [0, 2]].map((shape) => ({ op, in: [f(shape, domain)], ...more }));
/** No float64 kernel on the CPU provider. */
const float32 = { dtype: 'float32' } as const;

export const rows: readonly Case[] = [
  ...unary('Identity'),
  ...binary('Add'),
  ...binary('Sub'),
  ...binary('Mul'),
  ...binary('Div', normal, offZero),
  ...binary('Pow', positive, normal),
  ...[1, 2, 3, 0.5, -1, 0].map((n): Case => ({ op: 'Pow', in: [f(s, positive), fixed([], [n])] })),
  { op: 'Pow', in: [f(s, offZero), int64([3], [])], is: 'integer exponent' },
  { op: 'Pow', in: [f(s, offZero), fixed([3], [1, 2, 3])], is: 'exponents per column' },
  ...unary('Neg'),
  ...unary('Sqrt', positive),
  ...unary('Exp'),
  ...unary('Log', positive),
  ...unary('Reciprocal', offZero),
  ...unary('Sin'),
  ...unary('Cos'),
  ...unary('Abs', offZero),
  ...unary('Erf', normal, float32),
  ...unary('Tanh'),
  ...unary('Sigmoid'),
  ...unary('Relu', offZero),
  ...unary('LeakyRelu', offZero, { ...float32, attrs: { alpha: 0.3 } }),
  ...unary('Softplus', normal, float32),
  ...(['Sum', 'Mean'] as const).flatMap((op): Case[] => {
    const linear = op === 'Sum' ? {} : ({ dtype: 'float32', linear: true } as const);
    return [
      { op, in: [f(s)], ...linear },
      { op, in: [f(s), f([3]), f([2, 1])], ...linear },
      { op, in: [f([1, 3]), f([2, 1])], ...linear },
    ];
  }),
  ...(['Max', 'Min'] as const).flatMap((op): Case[] => [
    { op, in: [f(s, distinct)] },
    { op, in: [f(s, distinct), f(s, positive)] },
    { op, in: [f(s, distinct), f([3], normal), f([2, 1], positive)] },
    { op, in: [f([], [0.3]), f(s, distinct)] },
  ]),
  { op: 'Clip', in: [f([3, 4], distinct), fixed([], [-0.3]), fixed([], [0.4])] },
  { op: 'Clip', in: [f([3, 4], distinct), f([], [-0.3]), f([], [0.4])] },
  { op: 'Clip', in: [f([3, 4], distinct), undefined, f([], [0.4])] },
  { op: 'Clip', in: [f([3, 4], distinct), f([], [-0.3])] },
  { op: 'Clip', in: [f([3, 4], distinct)] },
  { op: 'Where', in: [bool([1, 0, 1, 0, 0, 1], s), f(s), f(s)] },
  { op: 'Where', in: [bool([1, 0], [2, 1]), f([3]), f([])] },
  { op: 'Where', in: [bool([1, 0, 1], [3]), f([1]), f([2, 1])] },
  {
    op: 'Cast',
    in: [f(s)],
    attrs: { to: 1 },
    dtype: 'float64',
    step: 1,
    tolerance: 1e-6,
    is: 'float64 to float32 rounds',
  },
  { op: 'Cast', in: [f(s)], attrs: { to: 11 }, dtype: 'float32', linear: true },
  { op: 'CastLike', in: [f(s), fixed([], [0])] },
  { op: 'Dropout', in: [f(s)] },
  { op: 'Mod', in: [f(s, [5.3, -2.2, 1.4, 3.3, -4.1, 0.7]), f([3], [2, 1.5, -1.2])], attrs: { fmod: 1 } },
  ...unary('Elu', offZero, { ...float32, attrs: { alpha: 0.7 } }),
  ...unary('Selu', offZero, { ...float32, attrs: { alpha: 1.3, gamma: 0.8 } }),
  ...unary('Selu', offZero, float32),
  ...unary('Celu', offZero, { ...float32, attrs: { alpha: 0.7 } }),
  ...unary('HardSigmoid', between(-5, 5), { ...float32, attrs: { alpha: 0.3, beta: 0.4 } }),
  ...unary('HardSwish', between(-5, 5), float32),
  ...unary('Mish', normal, float32),
  ...unary('Swish', normal, { ...float32, opset: 24, attrs: { alpha: 0.7 } }),
  ...unary('Gelu', normal, { ...float32, opset: 20 }),
  ...unary('Gelu', normal, { ...float32, opset: 20, attrs: { approximate: 'tanh' } }),
  ...[[2, 3], [3], [1, 1], [1]].map(
    (slope): Case => ({ op: 'PRelu', in: [f(s, offZero), f(slope, positive)], ...float32 }),
  ),
  ...unary('ThresholdedRelu', offZero, { ...float32, attrs: { alpha: 0.1 } }),
  ...unary('Shrink', offZero, { ...float32, linear: true, step: 0.05, attrs: { lambd: 0.1, bias: 0.05 } }),
  ...unary('Softsign', offZero, float32),
  ...unary('Tan', between(-1, 1), float32),
  ...unary('Asin', between(-0.9, 0.9), float32),
  ...unary('Acos', between(-0.9, 0.9), float32),
  ...unary('Atan', normal, float32),
  ...unary('Sinh', normal, float32),
  ...unary('Cosh', normal, float32),
  ...unary('Asinh', normal, float32),
  ...unary('Acosh', between(1.2, 3), float32),
  ...unary('Atanh', between(-0.9, 0.9), float32),
  { op: 'Range', in: [f([], [0.5]), fixed([], [3]), f([], [0.4])] },
  { op: 'OneHot', in: [int64([0, 2, 7]), int64([3], []), f([2])], ...float32, linear: true },
  { op: 'OneHot', in: [int64([0, 2, 1, 1], [2, 2]), int64([3]), f([2])], attrs: { axis: 1 }, ...float32, linear: true },
  { op: 'DequantizeLinear', in: [uint8([1, 5, 9, 200]), f([], positive), uint8([7], [])], ...float32, linear: true },
  { op: 'DequantizeLinear', in: [uint8([1, 5, 9, 200, 3, 2], [2, 3]), f([3], positive)], ...float32, linear: true },
  {
    op: 'DequantizeLinear',
    in: [uint8([1, 5, 9, 200, 3, 2], [2, 3]), f([2], positive), uint8([7, 3])],
    attrs: { axis: 0 },
    ...float32,
    linear: true,
  },
];
