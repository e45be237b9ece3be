/** Random cases by operator. A name with "~" in front has lengths that depend on data, so not all need be known. */
import type { Value } from '../../../src/graph/model.ts';
import { contribCases } from './casesContrib.ts';
import { neuralCases } from './casesNeural.ts';
import type { Choices, Input, Make } from './oracle.ts';

/** `dims` with another length at one axis. */
const withDim = (dims: readonly number[], axis: number, d: number): number[] =>
  dims.map((old, i) => (i === axis ? d : old));
const axisOf = (c: Choices, rank: number): number => c.int(-rank, rank - 1);
const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
const shuffled = (c: Choices, n: number): number[] =>
  range(n)
    .map((i) => ({ i, key: c.int(0, 1000) }))
    .sort((a, b) => a.key - b.key)
    .map(({ i }) => i);
const positive = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);

/** A constant vector, or the same computed from another constant, or fed so that nobody knows it before. */
function vector(c: Choices, g: Parameters<Make>[1], values: readonly number[]): Value {
  return c.flip() ? g.ints(values) : g.Identity(g.ints(values));
}

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

const layout: Record<string, Make> = {
  Reshape: (c, g, input) => {
    const dims = c.dims(1, 4);
    const total = dims.reduce((n, d) => n * d, 1);
    const cut = c.int(0, dims.length);
    const tail = dims.slice(cut);
    const target = c.of([
      [-1],
      [total],
      [0, -1],
      [...dims.slice(0, cut).map(() => 0), -1],
      [-1, ...tail],
      [1, total, 1],
    ]);
    return g.Reshape(input('float32', dims), vector(c, g, target));
  },
  'Reshape of elements': (_, g, input) => g.Reshape(g.Shape(input('float32', [2, 3, 4])), g.ints([1, 3])),
  'Reshape to a computed target': (_, g, input) => {
    const x = input('float32', [2, 3, 8]);
    const n = g.Slice(g.Shape(x), g.ints([0]), g.ints([1]));
    const s = g.Gather(g.Shape(x), g.ints([1]));
    return [
      g.Reshape(x, g.Concat([n, s, g.ints([2]), g.ints([-1])], { axis: 0 })),
      g.Reshape(x, g.Concat([g.Mul(n, s), g.ints([-1])], { axis: 0 })),
    ];
  },
  Flatten: (c, g, input) => {
    const dims = c.dims(1, 4);
    return g.Flatten(input('float32', dims), { axis: c.int(-dims.length, dims.length) });
  },
  Transpose: (c, g, input) => {
    const dims = c.dims(1, 4);
    return g.Transpose(input('float32', dims), { perm: c.flip() ? shuffled(c, dims.length) : undefined });
  },
  Squeeze: (c, g, input) => g.Squeeze(input('float32', [1, 3, 1, 2]), c.of([g.ints([0]), g.ints([-2, 0]), undefined])),
  Unsqueeze: (c, g, input) =>
    g.Unsqueeze(input('float32', c.dims(1, 3)), vector(c, g, c.of([[0], [-1], [0, -1], [1, 0]]))),
  Expand: (c, g, input) => {
    const dims = c.dims(1, 4);
    return g.Expand(input('float32', c.broadcastable(dims)), vector(c, g, dims));
  },
  Concat: (c, g, input) => {
    const dims = c.dims(1, 4);
    const axis = axisOf(c, dims.length);
    const parts = range(c.int(1, 4)).map(() =>
      input('float32', withDim(dims, positive(axis, dims.length), c.int(1, 4))),
    );
    return g.Concat(parts, { axis });
  },
  Split: (c, g, input) => {
    const [count, rank] = [c.int(1, 3), 3];
    const axis = axisOf(c, rank);
    const sizes = range(count).map(() => c.int(1, 3));
    const dims = withDim(
      [2, 3, 4],
      positive(axis, rank),
      sizes.reduce((a, b) => a + b, 0),
    );
    return g.node({
      op: 'Split',
      inputs: [input('float32', dims), vector(c, g, sizes)],
      attrs: { axis },
      outputs: count,
    });
  },
  'Split in equal parts': (c, g, input) => {
    const d = c.int(5, 12);
    return g.node({ op: 'Split', inputs: [input('float32', [2, d])], attrs: { axis: 1, num_outputs: 3 }, outputs: 3 });
  },
  Slice: (c, g, input) => {
    const dims = c.dims(2, 4, 7);
    const at = shuffled(c, dims.length).slice(0, c.int(1, dims.length));
    const bound = (): number => c.of([0, 1, 2, -1, -2, -3, 5, 9, -9, 2147483647, -2147483647]);
    const steps = at.map(() => c.of([1, 1, 2, 3, -1, -2]));
    return g.Slice(input('float32', dims), g.ints(at.map(bound)), g.ints(at.map(bound)), g.ints(at), g.ints(steps));
  },
  'Slice by lengths': (_, g, input) => {
    const [table, x] = [input('float32', [1, 9]), input('float32', [2, 5])];
    const s = g.Slice(g.Shape(x), g.ints([1]), g.ints([2]));
    const less = g.Sub(s, g.ints([1]));
    return [
      g.Slice(table, g.ints([0]), s, g.ints([1])),
      g.Slice(x, g.ints([0]), g.ints([-1]), g.ints([1])),
      g.Slice(x, g.ints([1]), g.ints([2 ** 62]), g.ints([1])),
      g.Slice(x, g.ints([0]), less, g.ints([1])),
      g.Slice(x, g.ints([-1]), g.ints([-2147483647]), g.ints([1]), g.ints([-1])),
    ];
  },
  Tile: (c, g, input) => {
    const dims = c.dims(1, 3);
    return g.Tile(
      input('float32', dims),
      vector(
        c,
        g,
        dims.map(() => c.int(1, 3)),
      ),
    );
  },
  Pad: (c, g, input) => {
    const dims = c.dims(2, 3);
    return g.Pad(
      input('float32', dims),
      vector(
        c,
        g,
        range(dims.length * 2).map(() => c.int(0, 2)),
      ),
      g.float(0),
    );
  },
  'Pad of some axes': (c, g, input) =>
    g.Pad(input('float32', [2, 3, 4]), g.ints([1, 2, 0, c.int(0, 3)]), undefined, g.ints([-1, 0])),
  DepthToSpace: (_, g, input) => g.DepthToSpace(input('float32', [2, 12, 3, 4]), { blocksize: 2 }),
  SpaceToDepth: (_, g, input) => g.SpaceToDepth(input('float32', [2, 3, 4, 6]), { blocksize: 2 }),
  CenterCropPad: (_, g, input) => g.CenterCropPad(input('float32', [4, 5, 3]), g.ints([2, 7]), { axes: [0, 1] }),
  Trilu: (_, g, input) => g.Trilu(input('float32', [2, 4, 5])),
  'Resize by scales': (c, g, input) =>
    g.Resize(
      input('float32', [1, 2, 5, 6]),
      undefined,
      g.constant('float32', [4], [1, 1, c.of([2, 1.5, 0.5, 0.7]), 2]),
    ),
  'Resize to sizes': (c, g, input) =>
    g.Resize(input('float32', [1, 2, 5, 6]), undefined, undefined, g.ints([1, 2, c.int(3, 9), 7])),
  'Resize of axes': (c, g, input) =>
    g.Resize(input('float32', [1, 2, 5, 6]), undefined, undefined, g.ints([c.int(3, 9), 7]), {
      axes: [2, 3],
      keep_aspect_ratio_policy: c.of(['stretch', 'not_larger', 'not_smaller']),
    }),
  ReverseSequence: (_, g, input) => g.ReverseSequence(input('float32', [3, 2, 4]), g.ints([2, 3])),
};

const indexing: Record<string, Make> = {
  Gather: (c, g, input) => {
    const dims = c.dims(1, 3);
    const places = c.dims(0, 3);
    return g.Gather(
      input('float32', dims),
      input(
        'int64',
        places,
        range(places.reduce((n, d) => n * d, 1)).map(() => 0),
      ),
      { axis: axisOf(c, dims.length) },
    );
  },
  'Gather of elements': (_, g, input) => {
    const shape = g.Shape(input('float32', [2, 3, 4]));
    return [
      g.Gather(shape, g.int(-1)),
      g.Gather(shape, g.ints([1, 0])),
      g.Gather(shape, g.constant('int64', [1, 2], [2, 2])),
    ];
  },
  GatherElements: (_, g, input) => g.GatherElements(input('float32', [3, 4]), input('int64', [2, 4]), { axis: 0 }),
  GatherND: (c, g, input) => {
    const [batch, depth] = [c.int(0, 1), c.int(1, 2)];
    const dims = [2, ...(batch === 1 ? [3] : []), depth];
    return g.GatherND(
      input('float32', [2, 3, 4, 5]),
      input(
        'int64',
        dims,
        range(dims.reduce((n, d) => n * d, 1)).map(() => 0),
      ),
      { batch_dims: batch },
    );
  },
  ScatterElements: (_, g, input) =>
    g.ScatterElements(input('float32', [3, 4]), input('int64', [2, 4]), input('float32', [2, 4]), { axis: 0 }),
  ScatterND: (_, g, input) => g.ScatterND(input('float32', [3, 4]), input('int64', [2, 1]), input('float32', [2, 4])),
  'ScatterND into a shape': (_, g, input) =>
    g.ScatterND(g.Shape(input('float32', [3, 4])), g.constant('int64', [1, 1], [-1]), g.ints([7])),
  OneHot: (c, g, input) =>
    g.OneHot(input('int64', [2, 3]), c.of([g.int(4), g.ints([4])]), g.constant('float32', [2], [0, 1]), {
      axis: axisOf(c, 3),
    }),
  TopK: (c, g, input) =>
    g.node({
      op: 'TopK',
      inputs: [input('float32', [2, 5, 4]), g.ints([2])],
      attrs: { axis: axisOf(c, 3) },
      outputs: 2,
    }),
  '~NonZero': (_, g, input) => g.NonZero(input('float32', [2, 3])),
  'NonZero of elements': (_, g) => g.NonZero(g.ints([3, 0, 5])),
  '~Compress': (c, g, input) =>
    g.Compress(input('float32', [2, 3]), input('bool', [3]), { axis: c.of([1, undefined]) }),
  '~Unique': (c, g, input) =>
    g.node({ op: 'Unique', inputs: [input('int64', [4, 3])], attrs: { axis: c.of([0, 1, undefined]) }, outputs: 4 }),
  CumSum: (_, g, input) => g.CumSum(input('float32', [2, 3]), g.int(1)),
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
      ['...ij,...jk->...ik', [2, 3, 4], [3, 4, 5].slice(1)],
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
  ...layout,
  ...indexing,
  ...reducing,
  ...products,
  ...generators,
  ...neuralCases,
  ...contribCases,
};
