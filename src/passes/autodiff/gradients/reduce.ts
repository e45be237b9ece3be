/** Reductions over axes, and the softmax family. `unreduce` inserts the reduced axes again. */
import type { Dim, Value } from '../../../graph/model.ts';
import { grad } from '../rules.ts';

grad('ReduceSum', ({ inputs: [x, axes], attrs: { keepdims, noop_with_empty_axes: noop }, dy, g }) => [
  g.unreduce(dy, x, axes, keepdims, noop),
]);
grad('ReduceMean', ({ inputs: [x, axes], attrs: { keepdims, noop_with_empty_axes: noop }, dy, g }) => {
  const known = (dims: readonly Dim[] = [null]): number =>
    dims.reduce<number>((n, d) => (typeof d === 'number' ? n * d : Number.NaN), 1);
  const along = axes?.elements?.map((a) => (typeof a === 'number' ? x.shape?.at(a) : null) ?? null) ?? [];
  const count = along.length > 0 ? known(along) : known(x.shape) / known(dy.shape);
  const size = (v: Value): Value => g.CastLike(g.Size(v), dy);
  const share = count > 0 ? g.like(dy, 1 / count) : g.Div(size(dy), size(x));
  return [g.unreduce(g.Mul(dy, share), x, axes, keepdims, noop)];
});
grad('ReduceSumSquare', ({ inputs: [x, axes], attrs: { keepdims, noop_with_empty_axes: noop }, dy, g }) => [
  g.Mul(g.Mul(x, g.like(x, 2)), g.unreduce(dy, x, axes, keepdims, noop)),
]);
grad('ReduceL1', ({ inputs: [x, axes], attrs: { keepdims, noop_with_empty_axes: noop }, dy, g }) => [
  g.Mul(g.Sign(x), g.unreduce(dy, x, axes, keepdims, noop)),
]);
// x/|x|; zero where the norm is zero (torch's subgradient).
grad('ReduceL2', ({ inputs: [x, axes], outputs: [y], attrs: { keepdims, noop_with_empty_axes: noop }, dy, g }) => {
  const share = g.Where(g.Equal(y, g.like(y, 0)), g.like(y, 0), g.Div(dy, y));
  return [g.Mul(x, g.unreduce(share, x, axes, keepdims, noop))];
});
grad('ReduceLogSum', ({ inputs: [x, axes], outputs: [y], attrs: { keepdims, noop_with_empty_axes: noop }, dy, g }) => [
  g.unreduce(g.Mul(dy, g.Exp(g.Neg(y))), x, axes, keepdims, noop),
]);
grad(
  'ReduceLogSumExp',
  ({ inputs: [x, axes], outputs: [y], attrs: { keepdims, noop_with_empty_axes: noop }, dy, g }) => [
    g.Mul(g.Exp(g.Sub(x, g.unreduce(y, x, axes, keepdims, noop))), g.unreduce(dy, x, axes, keepdims, noop)),
  ],
);
// Ties share the gradient, as in torch.amax and amin.
for (const op of ['ReduceMax', 'ReduceMin'] as const)
  grad(op, ({ inputs: [x, axes], outputs: [y], attrs: { keepdims, noop_with_empty_axes: noop }, dy, g }) => {
    const hit = g.CastLike(g.Equal(x, g.unreduce(y, x, axes, keepdims, noop)), dy);
    const count = g.ReduceSum(hit, axes, { keepdims, noop_with_empty_axes: noop });
    return [g.Mul(hit, g.unreduce(g.Div(dy, count), x, axes, keepdims, noop))];
  });
// The product of the others: y/x, or if x is the only zero the product of the rest.
grad('ReduceProd', ({ inputs: [x, axes], outputs: [y], attrs: { keepdims, noop_with_empty_axes: noop }, dy, g }) => {
  const [zero, one] = [g.like(x, 0), g.like(x, 1)];
  const isZero = g.Equal(x, zero);
  const safe = g.Where(isZero, one, x);
  const back = (v: Value): Value => g.unreduce(v, x, axes, keepdims, noop);
  const zeros = g.ReduceSum(g.CastLike(isZero, x), axes, { keepdims, noop_with_empty_axes: noop });
  const rest = g.ReduceProd(safe, axes, { keepdims, noop_with_empty_axes: noop });
  const alone = g.Where(back(g.Equal(zeros, one)), back(rest), zero);
  return [g.Mul(back(dy), g.Where(isZero, alone, g.Div(back(y), safe)))];
});

grad('Softmax', ({ outputs: [y], attrs: { axis }, dy, g }) => {
  const s = g.Mul(dy, y);
  return [g.Sub(s, g.Mul(y, g.ReduceSum(s, g.ints([axis]), { keepdims: 1 })))];
});
grad('LogSoftmax', ({ outputs: [y], attrs: { axis }, dy, g }) => [
  g.Sub(dy, g.Mul(g.Exp(y), g.ReduceSum(dy, g.ints([axis]), { keepdims: 1 }))),
]);
