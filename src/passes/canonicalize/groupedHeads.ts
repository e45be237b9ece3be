/**
 * Attention with fewer heads of keys and values than of queries (Ainslie et al. 2023), as exporters write it: keys and values are repeated for
 * every query head of their group, and products run over the copies. Queries of a group lie one after another in memory, so
 * [batch, heads, queries, width] is [batch, groups, heads of a group · queries, width] as it is, and one product with the keys themselves
 * serves the whole group: no copy forward, and backward no sum over copies.
 */
import type { Builder } from '../../graph/builder.ts';
import { type Dim, type Graph, takePlace, type Value } from '../../graph/model.ts';
import { factorBehind, madeBy, swapsLast } from '../common/patterns.ts';
import { sameShape } from '../common/shapeTools.ts';

/** In place, on a graph whose shapes are inferred; new nodes are detached until `graph.adopt()`. True where a product was found. */
export function groupHeads(graph: Graph, g: Builder): boolean {
  const graphs = [...graph.allGraphs()];
  let found = false;
  for (const node of graph.nodes.filter((n) => n.op === 'MatMul' && n.domain === '')) {
    const [a, b] = node.inputs;
    const [y] = node.outputs;
    const turned = madeBy(b, 'Transpose');
    const swaps = turned !== undefined && swapsLast(turned);
    const repeated = repeatedHeads(swaps ? turned.inputs[0] : b);
    if (a === undefined || y === undefined || repeated === undefined) continue;
    const { k, groups, heads } = repeated;
    // The same batch and heads on both sides, nothing broadcast.
    if (a.shape?.length !== 4 || a.shape[1] !== heads || a.shape[0] !== k.shape?.[0] || a.shape[0] === null) continue;
    const factor = factorBehind(y, graph);
    const scaled = factor?.node.outputs[0] ?? y;
    const made = g.within({ origin: y.name, rule: 'heads/grouped' }, () => {
      const rows = g.Reshape(a, g.ints([0, groups, -1, 0]));
      const product = g.MatMul(rows, swaps ? g.Transpose(k, { perm: [0, 1, 3, 2] }) : k);
      // The factor stays beside its product, which can take it in.
      const whole = factor === undefined ? product : g[factor.node.op === 'Mul' ? 'Mul' : 'Div'](product, factor.by);
      return g.Reshape(whole, g.ints([0, heads, -1, 0]));
    });
    made.type = scaled.type;
    takePlace(scaled, made, graphs, '.repeated');
    found = true;
  }
  return found;
}

interface Repeated {
  /** [batch, groups, length, width] */
  readonly k: Value;
  readonly groups: number;
  readonly heads: number;
}

/** What a value of [batch, heads, length, width] repeats for every head of a group. */
function repeatedHeads(v: Value | undefined): Repeated | undefined {
  const expand = madeBy(madeBy(v, 'Reshape')?.inputs[0], 'Expand');
  const [u] = expand?.inputs ?? [];
  const one = madeBy(u, 'Unsqueeze') ?? madeBy(u, 'Reshape');
  const [k] = one?.inputs ?? [];
  const [whole, wide, single, own] = [v, expand?.outputs[0], u, k].map((x) => x?.shape);
  if (k === undefined || whole?.length !== 4 || own?.length !== 4 || wide?.length !== 5) return undefined;
  const [batch, groups, length, width] = own;
  const [count, heads] = [wide[2], whole[1]];
  if (typeof groups !== 'number' || typeof heads !== 'number' || typeof count !== 'number' || count < 2)
    return undefined;
  const is = (shape: readonly Dim[] | undefined, ...dims: readonly (Dim | undefined)[]): boolean =>
    sameShape(
      shape,
      dims.map((d) => d ?? null),
    );
  const fits =
    is(single, batch, groups, 1, length, width) &&
    is(wide, batch, groups, count, length, width) &&
    is(whole, batch, groups * count, length, width);
  return fits ? { k, groups, heads } : undefined;
}
