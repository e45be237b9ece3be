/** Random cases by operator. A name with "~" in front has lengths that depend on data, so not all need be known. */
import type { Value } from '../../../src/graph/model.ts';
import { contribCases } from './casesContrib.ts';
import { indexingCases, layoutCases } from './casesLayout.ts';
import { neuralCases } from './casesNeural.ts';
import { axisOf, type Choices, range, shuffled, vector } from './choices.ts';
import type { Input, Make } from './oracle.ts';

const unary = [
  'Abs',
  'Ceil',
  'Erf',
  'Exp',
  'Floor',
  'Neg',
  'Relu',
  'Sigmoid',
  'Sign',
  'Sqrt',
  'Tanh',
  'Softplus',
] as const;
const binary = ['Add', 'Sub', 'Mul', 'Div', 'Pow'] as const;
const compare = ['Equal', 'Less', 'LessOrEqual', 'Greater', 'GreaterOrEqual'] as const;
const many = ['Max', 'Min', 'Sum', 'Mean'] as const;
const logic = ['And', 'Or', 'Xor'] as const;
const reductions = [
  'ReduceSum',
  'ReduceMean',
  'ReduceMax',
  'ReduceMin',
  'ReduceProd',
  'ReduceL1',
  'ReduceL2',
  'ReduceSumSquare',
  'ReduceLogSumExp',
  'ReduceLogSum',
] as const;

const pair = (c: Choices, input: Input, dtype: Parameters<Input>[0] = 'float32'): [Value, Value] => {
  const dims = c.dims(0, 4);
  const [a, b] = [input(dtype, dims), input(dtype, c.broadcastable(dims))];
  return c.flip() ? [a, b] : [b, a];
};

const elementwise: Record<string, Make> = {
  ...Object.fromEntries(
    unary.map((op): [string, Make] => [op, (c, g, input) => g[op](input('float32', c.dims(0, 4)))]),
  ),
  ...Object.fromEntries(binary.map((op): [string, Make] => [op, (c, g, input) => g[op](...pair(c, input))])),
  ...Object.fromEntries(compare.map((op): [string, Make] => [op, (c, g, input) => g[op](...pair(c, input))])),
  ...Object.fromEntries(logic.map((op): [string, Make] => [op, (c, g, input) => g[op](...pair(c, input, 'bool'))])),
  ...Object.fromEntries(
    many.map((op): [string, Make] => [op, (c, g, input) => g[op]([...pair(c, input), input('float32', [1])])]),
  ),
  Mod: (c, g, input) => {
    const dims = c.dims(1, 3);
    return g.Mod(
      input('int64', dims),
      input(
        'int64',
        dims,
        range(dims.reduce((n, d) => n * d, 1)).map((i) => i + 1),
      ),
    );
  },
  Not: (c, g, input) => g.Not(input('bool', c.dims(0, 3))),
  Clip: (c, g, input) => g.Clip(input('float32', c.dims(0, 3)), g.float(0)),
  IsNaN: (c, g, input) => g.IsNaN(input('float32', c.dims(0, 3))),
  Where: (c, g, input) => {
    const dims = c.dims(1, 4);
    return g.Where(
      input('bool', c.broadcastable(dims)),
      input('float32', dims),
      input('float32', c.broadcastable(dims)),
    );
  },
  Cast: (c, g, input) => g.Cast(input('float32', c.dims(0, 3)), { to: c.of([1, 6, 7, 9, 10, 11]) }),
  CastLike: (c, g, input) => g.CastLike(input('float32', c.dims(0, 3)), input(c.of(['int64', 'int32', 'bool']), [])),
  PRelu: (c, g, input) => g.PRelu(input('float32', [2, 3, 4]), input('float32', c.of([[4], [3, 1], [1]]))),
  BitShift: (c, g, input) => g.BitShift(input('uint8', c.dims(1, 3)), input('uint8', [1]), { direction: 'LEFT' }),
};

const reducing: Record<string, Make> = {
  ...Object.fromEntries(
    reductions.map((op): [string, Make] => [
      op,
      (c, g, input) => {
        const dims = c.dims(1, 4);
        const axes = c.of([
          undefined,
          g.ints([axisOf(c, dims.length)]),
          vector(c, g, shuffled(c, dims.length).slice(0, c.int(1, dims.length))),
        ]);
        return g[op](input('float32', dims), axes, { keepdims: c.int(0, 1), noop_with_empty_axes: c.int(0, 1) });
      },
    ]),
  ),
  'reductions of elements': (_, g, input) => {
    const shape = g.Shape(input('float32', [2, 3, 4]));
    return [
      g.ReduceProd(shape, undefined, { keepdims: 0 }),
      g.ReduceSum(shape, g.ints([0])),
      g.ReduceMax(shape, undefined, { keepdims: 0 }),
      g.ReduceMin(shape),
    ];
  },
  ArgMax: (c, g, input) => {
    const dims = c.dims(1, 3);
    return [g.ArgMax(input('float32', dims), { axis: axisOf(c, dims.length), keepdims: c.int(0, 1) })];
  },
  Softmax: (c, g, input) => g.Softmax(input('float32', c.dims(1, 3))),
  LogSoftmax: (c, g, input) => g.LogSoftmax(input('float32', c.dims(1, 3)), { axis: 0 }),
  SoftmaxCrossEntropyLoss: (c, g, input) =>
    g.node({
      op: 'SoftmaxCrossEntropyLoss',
      inputs: [input('float32', [3, 4, 2]), input('int64', [3, 2])],
      attrs: { reduction: c.of(['none', 'sum', 'mean']) },
      outputs: 2,
    }),
  NegativeLogLikelihoodLoss: (c, g, input) =>
    g.NegativeLogLikelihoodLoss(input('float32', [3, 4]), input('int64', [3]), undefined, {
      reduction: c.of(['none', 'sum', 'mean']),
    }),
};

const products: Record<string, Make> = {
  MatMul: (c, g, input) => {
    const [m, k, n, batch] = [c.int(1, 4), c.int(1, 4), c.int(1, 4), c.dims(0, 2)];
    const left = c.of([[k], [m, k], [...batch, m, k]]);
    return g.MatMul(input('float32', left), input('float32', c.of([[k], [k, n], [...c.broadcastable(batch), k, n]])));
  },
  Gemm: (c, g, input) => {
    const [m, k, n, transA, transB] = [c.int(1, 4), c.int(1, 4), c.int(1, 4), c.int(0, 1), c.int(0, 1)];
    const bias = c.of([undefined, input('float32', c.of([[], [n], [m, 1], [m, n]]))]);
    return g.Gemm(
      input('float32', transA === 1 ? [k, m] : [m, k]),
      input('float32', transB === 1 ? [n, k] : [k, n]),
      bias,
      { transA, transB },
    );
  },
  MatMulInteger: (_, g, input) => g.MatMulInteger(input('uint8', [2, 3, 4]), input('uint8', [4, 5])),
  Einsum: (c, g, input) => {
    const [equation, ...shapes] = c.of<[string, ...number[][]]>([
      ['bij,bjk->bik', [2, 3, 4], [2, 4, 5]],
      ['bhqd,bhkd->bhqk', [2, 3, 4, 5], [2, 3, 6, 5]],
      ['...ij,...jk->...ik', [2, 3, 4], [2, 4, 5]],
      ['ij->ji', [2, 3]],
      ['i,j', [2], [3]],
      ['ba,cb', [2, 3], [4, 2]],
      ['ii->i', [3, 3]],
      ['...i->...', [2, 3, 4]],
      ['ij, j -> i', [2, 3], [3]],
    ]);
    return g.Einsum(
      shapes.map((s) => input('float32', s)),
      { equation },
    );
  },
  Det: (_, g, input) => g.Det(input('float32', [2, 3, 3])),
};

const generators: Record<string, Make> = {
  Shape: (c, g, input) =>
    g.Shape(input('float32', c.dims(0, 4)), { start: c.int(-3, 2), end: c.of([undefined, 1, 2, -1]) }),
  Size: (c, g, input) => g.Size(input('float32', c.dims(0, 4))),
  ConstantOfShape: (c, g) => g.ConstantOfShape(vector(c, g, c.dims(1, 3))),
  Range: (c, g) => g.Range(g.int(c.int(-3, 3)), g.int(c.int(-3, 9)), g.int(c.of([1, 2, -1, 3]))),
  'Range of floats': (c, g) => g.Range(g.float(0.5), g.float(c.int(1, 6)), g.float(0.5)),
  EyeLike: (_, g, input) => g.EyeLike(input('float32', [3, 4]), { dtype: 7 }),
  RandomNormal: (_, g) => g.RandomNormal({ shape: [2, 3] }),
  RandomUniformLike: (_, g, input) => g.RandomUniformLike(input('float32', [3, 4])),
  Bernoulli: (_, g, input) =>
    g.Bernoulli(
      input(
        'float32',
        [3, 4],
        range(12).map(() => 0.5),
      ),
      { dtype: 7 },
    ),
  Multinomial: (_, g, input) => g.Multinomial(input('float32', [3, 4]), { sample_size: 5 }),
  HannWindow: (_, g) => g.HannWindow(g.int(6)),
  '~arithmetic through floats': (c, g, input) => {
    const shape = g.Cast(g.Shape(input('float32', [2, 3, 4])), { to: 1 });
    const at = (v: Value): Value => g.ConstantOfShape(g.Cast(v, { to: 7 }));
    const two = g.float(c.of([2, 1]));
    const floor = g.Floor(g.Mul(shape, two));
    return [at(g.Min([shape, g.constant('float32', [1], [3])])), at(floor), at(g.Ceil(g.Div(shape, two)))];
  },
  'arithmetic of elements': (c, g, input) => {
    const shape = g.Shape(input('float32', [2, 3, 4]));
    const two = g.int(c.int(1, 3));
    const mask = g.Equal(shape, g.ints([2, 5, 4]));
    return [
      ...[
        g.Add(shape, two),
        g.Sub(shape, two),
        g.Mul(shape, shape),
        g.Div(shape, two),
        g.Mod(shape, two),
        g.Neg(shape),
      ],
      ...[
        g.Min([shape, two]),
        g.Max([shape, two]),
        g.Where(mask, shape, g.ints([-1, -1, -1])),
        g.Cast(mask, { to: 7 }),
      ],
      ...[g.Expand(two, g.ints([3])), g.Tile(shape, g.ints([2])), g.Less(shape, two), g.Greater(shape, g.ints([-1]))],
      ...[g.Unsqueeze(shape, g.ints([0])), g.Squeeze(g.ints([4])), g.ConstantOfShape(g.ints([2]), {})],
    ];
  },
};

export const cases: Readonly<Record<string, Make>> = {
  ...elementwise,
  ...layoutCases,
  ...indexingCases,
  ...reducing,
  ...products,
  ...generators,
  ...neuralCases,
  ...contribCases,
};
