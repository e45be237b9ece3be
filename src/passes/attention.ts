/**
 * The gradient of attention weights with fewer passes over the [queries, keys] matrices. Of P = softmax(S) and O = P·V, the sum over
 * keys of P·dP is the sum over the head's width of O·dO (Dao et al. 2022), a matrix many times smaller.
 */
import type { Builder } from '../graph/builder.ts';
import { type Graph, type Node, takePlace, type Value } from '../graph/model.ts';
import { madeBy } from './patterns.ts';
import { axesOf } from './rows.ts';

/** In place; new nodes are detached until `graph.adopt()`. Finds dS = P·dP - P·sum(P·dP) as the rule of Softmax writes it. */
export function smallSums(graph: Graph, g: Builder): void {
  for (const node of [...graph.nodes]) {
    const found = match(node);
    const [ds] = node.outputs;
    if (found === undefined || ds === undefined) continue;
    const { p, dp, o, dO } = found;
    const made = g.within({ origin: ds.name, rule: 'attention/sums' }, () =>
      g.Mul(g.Sub(dp, g.ReduceSum(g.Mul(dO, o), g.ints([-1]), { keepdims: 1 })), p),
    );
    takePlace(ds, made, [graph], '.summed');
  }
}

interface Found {
  readonly p: Value;
  readonly dp: Value;
  readonly o: Value;
  readonly dO: Value;
}

function match(node: Node): Found | undefined {
  const [weighted, rest] = node.op === 'Sub' && node.domain === '' ? node.inputs : [];
  const [p, sum] = madeBy(rest, 'Mul')?.inputs ?? [];
  const reduced = sum?.producer;
  if (p?.producer?.op !== 'Softmax' || reduced?.op !== 'ReduceSum' || reduced.inputs[0] !== weighted) return undefined;
  if (axesOf(reduced)?.join() !== '-1') return undefined;
  const dp = madeBy(weighted, 'Mul')?.inputs.find((v) => v !== p);
  // dP = dO·Vᵀ
  const product = dp?.producer;
  const [dO, turned] = product?.op === 'MatMul' && product.domain === '' ? product.inputs : [];
  const [v] = madeBy(turned, 'Transpose')?.inputs ?? [];
  if (dp === undefined || dO === undefined || turned === undefined) return undefined;
  for (const { node: user, index } of p.uses) {
    const [o] = user.outputs;
    if (user.op !== 'MatMul' || user.domain !== '' || index !== 0 || o === undefined) continue;
    const other = user.inputs[1];
    // V itself, or Vᵀ read through a Transpose of its own.
    if (other !== undefined && (other === v || madeBy(other, 'Transpose')?.inputs[0] === turned))
      return { p, dp, o, dO };
  }
  return undefined;
}
