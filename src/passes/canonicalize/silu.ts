/**
 * SiLU as exporters write it, y = x·s with s = sigmoid(a·x): the derivatives of both nodes read and write seventeen tensors, that of
 * the function eleven. The forward stays as it is; an internal node behind it carries y on (Elfwing, Uchibe, Doya 2018, arXiv:1702.03118).
 */
import type { Graph, Value } from '../../graph/model.ts';
import { madeBy, scalarOf } from '../common/patterns.ts';
import { insertMarker } from '../dialect/customGradient.ts';

/** In place. The internal node `Silu` has the inputs x, s and y, and a as attribute. */
export function compactSilu(graph: Graph): void {
  for (const node of [...graph.nodes]) {
    const [v] = node.inputs;
    const [s] = node.outputs;
    if (node.op !== 'Sigmoid' || node.domain !== '' || v === undefined || s === undefined) continue;
    for (const { node: product, index } of [...s.uses]) {
      const x = product.inputs[1 - index];
      const [y] = product.outputs;
      const factor = x === undefined ? undefined : multiple(v, x);
      if (product.op !== 'Mul' || product.domain !== '' || product.graph !== graph) continue;
      if (x === undefined || y === undefined || factor === undefined) continue;
      insertMarker(graph, 'Silu', [x, s, y], [['alpha', { kind: 'float', value: factor }]]);
    }
  }
}

/** a where v is a·x. */
function multiple(v: Value, x: Value): number | undefined {
  if (v === x) return 1;
  const [a, b] = madeBy(v, 'Mul')?.inputs ?? [];
  return a === x ? scalarOf(b) : b === x ? scalarOf(a) : undefined;
}
