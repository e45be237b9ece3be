/**
 * Computes the gradient of attention weights with fewer passes over the [queries, keys] matrices. For P = softmax(S)
 * and O = P·V, the sum over keys of P·dP is the sum over the head's width of O·dO (Dao et al. 2022), whose operands are
 * many times smaller.
 */
import type { Builder } from '../../graph/builder.ts';
import { type Graph, takePlace } from '../../graph/model.ts';
import { any, anything, ints, oneOf, op } from '../common/pattern.ts';
import { pattern } from '../common/patternSearch.ts';

const p = op.Softmax(anything).as('p');
// dP = dO·Vᵀ, or a view of it
const product = op.MatMul(any('dO'), op.Transpose(any('v')).as('turned'));
const dp = oneOf(product.as('dp'), op.Reshape(product, anything).as('dp').node('view'));
const weighted = op.Mul(p, dp).as('weighted');
/** dS = P·dP - P·sum(P·dP) as the rule of Softmax writes it. */
const gradient = pattern(
  'gradient of attention weights',
  op.Sub(weighted, op.Mul(p, op.ReduceSum(weighted, ints(-1)))),
);
/** V itself, or Vᵀ read through its own Transpose. */
const output = pattern('output of attention', op.MatMul(any('p'), oneOf(any('v'), op.Transpose(any('turned')))));

/** In place; new nodes are detached until `graph.adopt()`. */
export function softmaxGradientSums(graph: Graph, g: Builder): void {
  for (const { root, bound } of gradient.in(graph)) {
    const { p, dp, dO, v, turned, view } = bound;
    const [ds] = root.outputs;
    const [batch, heads] = p.shape?.length === 4 ? p.shape : [];
    // With a view, a MatMul runs over all heads of a group at once (groupedHeads.ts).
    const grouped = view !== undefined;
    if (ds === undefined || (grouped && (typeof heads !== 'number' || batch === null || dO.shape?.[0] !== batch)))
      continue;
    const views = grouped
      ? [p, ...[...p.uses].flatMap(({ node }) => (node.op === 'Reshape' ? node.outputs : []))]
      : [p];
    const o = views.flatMap((x) =>
      [...x.uses].flatMap(({ node }) => output.at(node, { p: x, v, turned })?.root.outputs ?? []),
    )[0];
    if (o === undefined) continue;
    const made = g.within({ origin: ds.name, rule: 'attention/sums' }, () => {
      const sums = g.ReduceSum(g.Mul(dO, o), g.ints([-1]), { keepdims: 1 });
      return g.Mul(
        g.Sub(dp, grouped && typeof heads === 'number' ? g.Reshape(sums, g.ints([0, heads, -1, 0])) : sums),
        p,
      );
    });
    takePlace(ds, made, [graph], '.summed');
  }
}
