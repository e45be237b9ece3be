/** Reductions along axes, operators along one axis that keep the shape (Softmax), and losses. */
import type { Dim, Value } from '../../graph/model.ts';
import type { DataType } from '../../graph/tensor.ts';
import { max, min, product, sum } from './dims.ts';
import { elementsOf, isFollowed, numbersIn } from './elements.ts';
import { axesIn, axisIn, like, out, type Shape, shape, unknownDims } from './rule.ts';

/** `dims` without these axes, or with 1 in their place. */
const reducedShape = (dims: readonly Dim[], at: readonly number[], keep: boolean): Dim[] =>
  dims.flatMap((d, i) => (at.includes(i) ? (keep ? [1] : []) : [d]));

function reduced(x: Value | undefined, axes: Value | undefined, keep: boolean, noop: boolean): Shape {
  const dims = x?.shape;
  if (dims === undefined) return undefined;
  const list = axes === undefined ? [] : numbersIn(axes);
  const size = axes?.shape?.[0];
  if (list === undefined && size !== 0) {
    // Axes computed at run time: the rank is known if keepdims is set, or if the number of axes is known.
    if (keep) return unknownDims(dims.length);
    return typeof size === 'number' && size <= dims.length ? unknownDims(dims.length - size) : undefined;
  }
  if (list === undefined || list.length === 0) return noop ? dims : keep ? dims.map(() => 1) : [];
  const at = axesIn(list, dims.length);
  return at === undefined ? undefined : reducedShape(dims, at, keep);
}

/** The one element left by a reduction of a vector of known elements. */
const folds: { readonly [op: string]: (list: readonly Dim[]) => Dim } = {
  ReduceSum: sum,
  ReduceProd: product,
  ReduceMin: (list) => list.reduce<Dim>((a, b) => min(a, b), list[0] ?? null),
  ReduceMax: (list) => list.reduce<Dim>((a, b) => max(a, b), list[0] ?? null),
};

shape(
  [
    ...(['ReduceL1', 'ReduceL2', 'ReduceLogSum', 'ReduceLogSumExp', 'ReduceMax', 'ReduceMean'] as const),
    ...(['ReduceMin', 'ReduceProd', 'ReduceSum', 'ReduceSumSquare'] as const),
  ],
  ({ node, inputs: [x, axes], attrs: { keepdims, noop_with_empty_axes: noop } }) => {
    const dims = reduced(x, axes, keepdims !== 0, noop !== 0);
    const list = isFollowed(x?.dtype) ? elementsOf(x) : undefined;
    const fold = folds[node.op];
    const whole = list !== undefined && x?.shape?.length === 1 && dims !== undefined && product(dims) === 1;
    return [out(x?.dtype, dims, whole && fold !== undefined ? [fold(list)] : undefined)];
  },
);

shape(['ArgMax', 'ArgMin'], ({ inputs: [x], attrs: { axis, keepdims } }) => {
  const at = x?.shape === undefined ? undefined : axisIn(axis, x.shape.length);
  return [
    out('int64', x?.shape === undefined || at === undefined ? undefined : reducedShape(x.shape, [at], keepdims !== 0)),
  ];
});

/** One loss per label, or one for all. */
function loss(dtype: DataType | undefined, scores: Shape, labels: Shape, reduction: string): ReturnType<typeof out> {
  const dims = labels ?? (scores === undefined ? undefined : scores.filter((_, i) => i !== 1));
  return out(dtype, reduction === 'none' ? dims : []);
}

shape('SoftmaxCrossEntropyLoss', ({ inputs: [scores, labels], attrs: { reduction } }) => [
  loss(scores?.dtype, scores?.shape, labels?.shape, reduction),
  like(scores),
]);
shape('NegativeLogLikelihoodLoss', ({ inputs: [scores, labels], attrs: { reduction } }) => [
  loss(scores?.dtype, scores?.shape, labels?.shape, reduction),
]);
