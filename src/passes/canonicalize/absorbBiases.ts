/**
 * Moves biases into adapted layers: an Add of a frozen vector right behind a layer becomes the C of its node, which
 * Gemm adds at no cost. The sum keeps its name.
 */
import type { Graph, Node } from '../../graph/model.ts';
import { internalDomain } from '../common/internalDomain.ts';
import { absent, any, anything, constant, maybe, op, opOf } from '../common/pattern.ts';
import { pattern } from '../common/patternSearch.ts';

const adapted = opOf(internalDomain, 'Adapted')(any('x'), maybe('w'), anything, anything, absent, maybe('dropped'));
const biased = pattern(
  'bias of an adapted layer',
  op.Add(adapted.node('product').once, constant('bias')).where(({ x, bias, product }) => {
    const width = product.layer?.out;
    // The sum of a vector and a matrix of one row would gain an axis.
    if ((x.shape?.length ?? 0) < 2) return `"${x.name}" has no rows`;
    if (x.dtype !== bias.dtype) return `"${bias.name}" is ${bias.dtype}, not ${x.dtype}`;
    return bias.tensor?.dims.join() === String(width) || `"${bias.name}" is not a vector of ${width} numbers`;
  }),
);

/** In place, on the training form of Adapted nodes. */
export function absorbBiases(graph: Graph): void {
  const gone = new Set<Node>();
  for (const { root, bound } of biased.in(graph)) {
    const { product, bias } = bound;
    const [sum] = root.outputs;
    if (sum === undefined) continue;
    root.setInput(0, undefined);
    root.setInput(1, undefined);
    product.setInput(4, bias);
    product.replaceOutput(0, sum);
    gone.add(root);
  }
  graph.removeAll(gone);
}
