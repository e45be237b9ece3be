/** MatMul, Gemm and the adapted MatMul. Weights are never transposed or copied: Gemm's flags give their layout. */
import { unsupportedShape } from '../../../errors.ts';
import type { Value } from '../../../graph/model.ts';
import { asType, besideBase, widened } from '../../common/computeType.ts';
import { adaptedForm } from '../../dialect/adapted.ts';
import { droppedAgain } from '../../dialect/dropout.ts';
import { grad, stop } from '../rules.ts';

grad('MatMul', ({ inputs: [a, b], dy, g }) => {
  const [p, q] = [g.rank(a), g.rank(b)];
  if (p === 1 && q === 1) return [g.Mul(dy, b), g.Mul(dy, a)];
  // A vector operand is a matrix of one row or column, whose axis the result lacks.
  const row = p === 1 ? g.Unsqueeze(a, g.ints([0])) : a;
  const column = q === 1 ? g.Unsqueeze(b, g.ints([1])) : b;
  const d = p === 1 ? g.Unsqueeze(dy, g.ints([-2])) : q === 1 ? g.Unsqueeze(dy, g.ints([-1])) : dy;
  // A frozen matrix with a batch: one MatMul over all rows that reads it in its stored layout.
  const width = b.shape?.[1];
  const depth = b.shape?.[0];
  const flat = p > 2 && q === 2 && typeof width === 'number' && typeof depth === 'number';
  const rows = (v: Value, n: number): Value => g.Reshape(v, g.ints([-1, n]));
  const da = flat
    ? g.reshapeLike(g.Gemm(rows(dy, width), b, undefined, { transB: 1 }), a)
    : p <= 2 && q === 2
      ? g.Gemm(d, column, undefined, { transB: 1 })
      : g.MatMul(d, g.T(column));
  const db = flat
    ? g.Gemm(rows(a, depth), rows(dy, width), undefined, { transA: 1 })
    : p === 2 && q === 2
      ? g.Gemm(a, d, undefined, { transA: 1 })
      : g.MatMul(g.T(row), d);
  const vector = (v: Value, ref: Value): Value => {
    const extra = g.rank(v) - 2;
    const summed = extra > 0 ? g.ReduceSum(v, g.ints(Array.from({ length: extra }, (_, i) => i)), { keepdims: 0 }) : v;
    return g.reshapeLike(summed, ref);
  };
  return [p === 1 ? vector(da, a) : da, q === 1 ? vector(db, b) : db];
});

grad('Gemm', ({ inputs: [a, b, c], attrs: { alpha, beta, transA, transB }, dy, g }) => {
  const da =
    transA === 0
      ? g.Gemm(dy, b, undefined, { alpha, transB: 1 - transB })
      : g.Gemm(b, dy, undefined, { alpha, transA: transB, transB: 1 });
  const db =
    transB === 0
      ? g.Gemm(a, dy, undefined, { alpha, transA: 1 - transA })
      : g.Gemm(dy, a, undefined, { alpha, transA: 1, transB: transA });
  return [da, db, c === undefined ? undefined : beta === 1 ? dy : g.Mul(dy, g.like(dy, beta))];
});

/**
 * y = x·W + s·(x·A)·B + C with W frozen: dB = s·(xA)ᵀdy, dA = xᵀdh, dx = dy·Wᵀ + dh·Aᵀ, where dh = s·dy·Bᵀ. Computed
 * over rows, so that each is one two-dimensional MatMul. The branch and its gradients have the adapter's own type. With
 * dropout the branch has its own input.
 */
grad('loraify.Adapted', ({ node, inputs, dy, g }) => {
  const { x, w, a, b, c, transW, scale, dropped } = adaptedForm(node);
  const [depth, width] = [a.shape?.[0], b.shape?.[1]];
  if (typeof depth !== 'number' || typeof width !== 'number')
    throw unsupportedShape('an adapter of unknown shape', { node: node.label });
  const [x2, dy2] = [g.rows(x, depth), g.rows(dy, width)];
  const wide = widened(g, dy);
  const branch = asType(g, dropped === undefined ? x2 : g.rows(dropped, depth), a.dtype);
  const dBranch = asType(g, wide === dy ? dy2 : g.rows(wide, width), a.dtype);
  const dh = g.Gemm(dBranch, b, undefined, { alpha: scale, transB: 1 });
  const h = g.MatMul(branch, a);
  // A frozen half-precision weight with float32 activations: only this MatMul is in its type.
  const base = w && asType(g, g.Gemm(asType(g, dy2, w.dtype), w, undefined, { transB: 1 - transW }), dy.dtype);
  const dx =
    dropped === undefined
      ? asType(g, besideBase(g, dh, a, base, { transB: 1 }), x.dtype)
      : asType(g, base ?? dy2, x.dtype);
  const grads: (Value | undefined)[] = [
    dropped !== undefined && base === undefined ? undefined : g.reshapeLike(dx, x),
    undefined,
    // (dhᵀ·x)ᵀ, whose long rows run faster than xᵀ·dh. With Gemm, ONNX Runtime would fuse the transposes back into
    // that.
    g.T(g.MatMul(g.T(dh), dropped === undefined ? branch : droppedAgain(g, dropped))),
    g.Gemm(h, dBranch, undefined, { alpha: scale, transA: 1 }),
    c === undefined ? undefined : dy,
    dropped === undefined ? undefined : g.Gemm(dh, a, undefined, { transB: 1 }),
  ];
  return grads.slice(0, inputs.length);
});

/**
 * The derivative with respect to an element is its cofactor: the determinant with a unit vector for the element's row.
 */
grad('Det', ({ inputs: [x], dy, g }) => {
  const line = g.Range(g.int(0), g.scalar(g.length(x, -1)), g.int(1));
  const column = g.Unsqueeze(line, g.ints([1]));
  // [row, 1, i, 1] and [column, 1, j]
  const replaced = g.Equal(g.Unsqueeze(line, g.ints([1, 2, 3])), column);
  const unit = g.CastLike(g.Equal(g.Unsqueeze(column, g.ints([1])), line), x);
  const last = g.rank(x) - 1;
  const cofactors = g.Det(g.Where(replaced, unit, g.Unsqueeze(x, g.ints([last - 1, last]))));
  return [g.Mul(g.Unsqueeze(dy, g.ints([last - 1, last])), cofactors)];
});
stop('kept out of the gradient on purpose (dora.ts)', ['loraify.Detach']);
