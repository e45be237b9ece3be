/** Operators that move elements without changing them: the gradient moves them back. */
import { unsupportedShape } from '../../../errors.ts';
import { knownInts } from '../../common/dimArithmetic.ts';
import { decompose, grad } from '../rules.ts';

for (const op of ['Reshape', 'Flatten', 'Squeeze', 'Unsqueeze'] as const)
  grad(op, ({ inputs: [x], dy, g }) => [g.reshapeLike(dy, x)]);

grad('Transpose', ({ inputs: [x], attrs: { perm }, dy, g }) => {
  const order = perm ?? Array.from({ length: g.rank(x) }, (_, i) => g.rank(x) - 1 - i);
  return [g.Transpose(dy, { perm: order.map((_, i) => order.indexOf(i)) })];
});
// The walk sums over the axes that were expanded.
grad('Expand', ({ dy }) => [dy]);
grad('Concat', ({ inputs, attrs: { axis = 0 }, dy, g }) => {
  const lengths = inputs.map((x) => x.shape?.at(axis));
  const split = lengths.every((n) => typeof n === 'number')
    ? g.ints(lengths)
    : g.Concat(
        inputs.map((x) => g.dim(x, axis)),
        { axis: 0 },
      );
  return inputs.length === 1
    ? [dy]
    : g.node({ op: 'Split', inputs: [dy, split], attrs: { axis }, outputs: inputs.length });
});
grad(
  'Split',
  ({ outputs, attrs: { axis }, dys, g }) => [
    g.Concat(
      [...outputs].map((y, i) => dys[i] ?? g.zerosLike(y)),
      { axis },
    ),
  ],
  { many: true },
);
// Each axis of the result has `repeats` copies, which are split into a separate axis and summed.
grad('Tile', ({ inputs: [x, repeats], dy, g }) => {
  const n = g.rank(x);
  if (n === 0) return [dy];
  const apart = g.shaped(
    dy,
    g.lengths(x).flatMap((l, i) => [g.element(repeats, i), l]),
  );
  return [g.ReduceSum(apart, g.ints(Array.from({ length: n }, (_, i) => 2 * i)), { keepdims: 0 })];
});
grad('Trilu', ({ inputs: [, k], attrs: { upper }, dy, g }) => [g.Trilu(dy, k, { upper })]);
grad('CumSum', ({ inputs: [, axis], attrs: { exclusive, reverse }, dy, g }) => [
  g.CumSum(dy, axis, { exclusive, reverse: 1 - reverse }),
]);

// [N, C·b·b, H, W] and [N, C, H·b, W·b]: the block is before the channels (DCR) or after them (CRD).
grad('SpaceToDepth', ({ attrs: { blocksize }, dy, g }) => [g.DepthToSpace(dy, { blocksize })]);
grad('DepthToSpace', ({ inputs: [x], attrs: { blocksize: b = 1, mode }, dy, g }) => {
  if (mode === 'DCR') return [g.SpaceToDepth(dy, { blocksize: b })];
  const [n, c, h, w] = [g.length(dy, 0), g.length(dy, 1), g.length(x, 2), g.length(x, 3)];
  const apart = g.shaped(dy, [n, c, h, b, w, b]);
  return [g.reshapeLike(g.Transpose(apart, { perm: [0, 1, 3, 5, 2, 4] }), x)];
});

// Element i is the product of the elements j that count for it: before or at i, reversed after or at it.
decompose('CumProd', ({ inputs: [x, axis], attrs: { exclusive, reverse }, g }) => {
  const at = knownInts(axis)?.[0];
  if (at === undefined) throw unsupportedShape('the gradient of CumProd needs its axis');
  const along = g.axis(x, at);
  const line = g.Range(g.int(0), g.scalar(g.length(x, along)), g.int(1));
  const [j, i] = reverse === 1 ? [g.Unsqueeze(line, g.ints([1])), line] : [line, g.Unsqueeze(line, g.ints([1]))];
  const counts = exclusive === 1 ? g.Less(j, i) : g.LessOrEqual(j, i);
  const square = g.Unsqueeze(counts, g.ints(g.axesFrom(x, along + 1).map((_, k) => k + 2)));
  const factors = g.Where(square, g.Unsqueeze(x, g.ints([along])), g.like(x, 1));
  return [g.ReduceProd(factors, g.ints([along + 1]), { keepdims: 0 })];
});
