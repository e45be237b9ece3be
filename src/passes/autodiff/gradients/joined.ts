/** Adapted MatMuls with one merged weight: the rule of `loraify.Adapted`, with W' instead of W and the branch. */
import { columns, joinedForm, mergedWeight, sideBySide } from '../../dialect/joined.ts';
import { grad } from '../rules.ts';

/** dx = dy·W'ᵀ; dB = s·(x·A)ᵀdy and dA = xᵀdh with dh = s·dy·Bᵀ, all parts in one MatMul if possible. */
grad(
  'loraify.Joined',
  ({ node, outputs, dys, g }) => {
    const form = joinedForm(node);
    const { x, parts, depth, transW } = form;
    const x2 = g.rows(x, depth);
    const dy = parts.map((p, i) => {
      const d = dys[i] ?? outputs[i];
      return d === undefined ? x2 : g.rows(dys[i] ?? g.zerosLike(d), p.width);
    });
    const ranks = parts.map((p) => Number(p.a.shape?.[1] ?? 0));
    const h = columns(
      g,
      g.MatMul(
        x2,
        sideBySide(
          g,
          parts.map((p) => p.a),
        ),
      ),
      ranks,
    );
    const dh = parts.map((p, i) => g.Gemm(dy[i] ?? x2, p.b, undefined, { alpha: p.scale, transB: 1 }));
    const dA = columns(g, g.Gemm(x2, sideBySide(g, dh), undefined, { transA: 1 }), ranks);
    const dx = g.Gemm(sideBySide(g, dy), mergedWeight(g, form), undefined, { transB: 1 - transW });
    return [
      g.reshapeLike(dx, x),
      ...parts.flatMap((p, i) => [
        undefined,
        dA[i],
        g.Gemm(h[i] ?? x2, dy[i] ?? x2, undefined, { alpha: p.scale, transA: 1 }),
        undefined,
      ]),
    ];
  },
  { many: true },
);
