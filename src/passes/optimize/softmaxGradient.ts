/**
 * The gradient of attention weights with fewer passes over the [queries, keys] matrices. Of P = softmax(S) and O = P·V, the sum over
 * keys of P·dP is the sum over the head's width of O·dO (Dao et al. 2022), a matrix many times smaller.
 */
import type { Builder } from '../../graph/builder.ts';
import { type Graph, type Node, takePlace, type Value } from '../../graph/model.ts';
import { madeBy } from '../common/patterns.ts';
import { axesOf } from '../common/reductionAxes.ts';

/** In place; new nodes are detached until `graph.adopt()`. Finds dS = P·dP - P·sum(P·dP) as the rule of Softmax writes it. */
export function smallSums(graph: Graph, g: Builder): void {
  for (const node of [...graph.nodes]) {
    const found = match(node);
    const [ds] = node.outputs;
    if (found === undefined || ds === undefined) continue;
    const { p, dp, o, dO, heads } = found;
    const made = g.within({ origin: ds.name, rule: 'attention/sums' }, () => {
      const sums = g.ReduceSum(g.Mul(dO, o), g.ints([-1]), { keepdims: 1 });
      return g.Mul(g.Sub(dp, heads === undefined ? sums : g.Reshape(sums, g.ints([0, heads, -1, 0]))), p);
    });
    takePlace(ds, made, [graph], '.summed');
  }
}

interface Found {
  readonly p: Value;
  readonly dp: Value;
  readonly o: Value;
  readonly dO: Value;
  /** How many P has, where products run over the heads of a group at once (groupedHeads.ts). */
  readonly heads: number | undefined;
}

function match(node: Node): Found | undefined {
  const [weighted, rest] = node.op === 'Sub' && node.domain === '' ? node.inputs : [];
  const [p, sum] = madeBy(rest, 'Mul')?.inputs ?? [];
  const reduced = sum?.producer;
  if (p?.producer?.op !== 'Softmax' || reduced?.op !== 'ReduceSum' || reduced.inputs[0] !== weighted) return undefined;
  if (axesOf(reduced)?.join() !== '-1') return undefined;
  const dp = madeBy(weighted, 'Mul')?.inputs.find((v) => v !== p);
  // dP = dO·Vᵀ, or a view of it
  const view = madeBy(dp, 'Reshape');
  const product = (view?.inputs[0] ?? dp)?.producer;
  const [dO, turned] = product?.op === 'MatMul' && product.domain === '' ? product.inputs : [];
  const [v] = madeBy(turned, 'Transpose')?.inputs ?? [];
  const [batch, heads] = p.shape?.length === 4 ? p.shape : [];
  if (dp === undefined || dO === undefined || turned === undefined) return undefined;
  if (view !== undefined && (typeof heads !== 'number' || batch === null || dO.shape?.[0] !== batch)) return undefined;
  const views = [p, ...[...p.uses].flatMap(({ node }) => (node.op === 'Reshape' ? node.outputs : []))];
  for (const { node: user, index } of (view === undefined ? [p] : views).flatMap((x) => [...x.uses])) {
    const [o] = user.outputs;
    if (user.op !== 'MatMul' || user.domain !== '' || index !== 0 || o === undefined) continue;
    const other = user.inputs[1];
    // V itself, or Vᵀ read through a Transpose of its own.
    if (other !== undefined && (other === v || madeBy(other, 'Transpose')?.inputs[0] === turned))
      return { p, dp, o, dO, heads: view !== undefined && typeof heads === 'number' ? heads : undefined };
  }
  return undefined;
}
