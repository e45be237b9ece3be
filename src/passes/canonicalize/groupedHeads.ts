/**
 * Grouped-query attention (Ainslie et al. 2023), as exporters write it: keys and values are repeated for every query
 * head of their group, and MatMuls read the copies. The queries of a group are contiguous, so [batch, heads, queries,
 * width] is [batch, groups, heads of a group · queries, width] without a copy, and one MatMul with the original keys
 * computes the whole group: no copies in the forward, and no sum over copies in the backward.
 */
import type { Builder } from '../../graph/builder.ts';
import { type Dim, type Graph, takePlace, type Value } from '../../graph/model.ts';
import { factorBehind, swapsLast } from '../common/matMul.ts';
import { any, anything, oneOf, op, type Verdict } from '../common/pattern.ts';
import { type NearMisses, pattern } from '../common/patternSearch.ts';
import { sameShape } from '../common/shapeTools.ts';

/** [batch, groups, length, width] */
const k = any('k');
const single = oneOf(op.Unsqueeze(k, anything).as('single'), op.Reshape(k, anything).as('single'));
const wide = op.Expand(single, anything).as('wide');
const repeated = op.Reshape(wide, anything).as('whole').where(isRepeated);
const swapped = op
  .Transpose(repeated)
  .node('swap')
  .where((_, node) => swapsLast(node) || `"${node.label}" moves other axes`);
const product = pattern('grouped heads', op.MatMul(any('a'), oneOf(swapped, repeated)).where(isGrouped), { least: 4 });

/**
 * In place, on a graph whose shapes are inferred; new nodes are detached until `graph.adopt()`. True if a MatMul was
 * rewritten.
 */
export function groupHeads(graph: Graph, g: Builder, misses?: NearMisses): boolean {
  const graphs = [...graph.allGraphs()];
  let found = false;
  for (const { root, bound } of product.in(graph, misses)) {
    const { a, k, swap } = bound;
    const [y] = root.outputs;
    const [groups, heads] = [k.shape?.[1], a.shape?.[1]];
    if (y === undefined || typeof groups !== 'number' || typeof heads !== 'number') continue;
    const factor = factorBehind(y);
    const scaled = factor?.root.outputs[0] ?? y;
    const made = g.within({ origin: y.name, rule: 'heads/grouped' }, () => {
      const rows = g.Reshape(a, g.ints([0, groups, -1, 0]));
      const product = g.MatMul(rows, swap === undefined ? k : g.Transpose(k, { perm: [0, 1, 3, 2] }));
      // The factor stays next to its MatMul, so that a later pass can fold it.
      const whole =
        factor === undefined ? product : g[factor.root.op === 'Mul' ? 'Mul' : 'Div'](product, factor.bound.by);
      return g.Reshape(whole, g.ints([0, heads, -1, 0]));
    });
    made.type = scaled.type;
    takePlace(scaled, made, graphs, '.repeated');
    found = true;
  }
  return found;
}

/** Whether a value [batch, heads, length, width] repeats k for every head of a group. */
function isRepeated(bound: { readonly [N in 'k' | 'single' | 'wide' | 'whole']: Value }): Verdict {
  const { k, single, wide, whole } = bound;
  const [batch, groups, length, width] = k.shape ?? [];
  const count = wide.shape?.[2];
  if (k.shape?.length !== 4 || typeof groups !== 'number' || typeof count !== 'number' || count < 2)
    return `the shapes of "${k.name}" and "${wide.name}" do not show how often heads are repeated`;
  const is = ({ shape }: Value, ...dims: readonly (Dim | undefined)[]): boolean =>
    sameShape(
      shape,
      dims.map((d) => d ?? null),
    );
  const fits =
    is(single, batch, groups, 1, length, width) &&
    is(wide, batch, groups, count, length, width) &&
    is(whole, batch, groups * count, length, width);
  return fits || `"${whole.name}" does not repeat the heads of "${k.name}"`;
}

/** Whether both sides have the same batch and heads, without broadcasting. */
function isGrouped({ a, k, whole }: { readonly [N in 'a' | 'k' | 'whole']: Value }): Verdict {
  const [batch, heads, ...rest] = a.shape ?? [];
  const fits = rest.length === 2 && heads === whole.shape?.[1] && batch === k.shape?.[0] && batch !== null;
  return fits || `"${a.name}" and "${whole.name}" have other batches or heads`;
}
