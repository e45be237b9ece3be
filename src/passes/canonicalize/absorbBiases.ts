/**
 * Biases of adapted products: an Add of a frozen vector right behind one goes into the node itself, where Gemm carries it. The
 * sum keeps its name.
 */
import type { Graph, Node, Value } from '../../graph/model.ts';
import { isAdapted } from '../dialect/adapted.ts';

/** In place, on the training form of Adapted nodes. */
export function absorbBiases(graph: Graph): void {
  const gone = new Set<Node>();
  const handedOut = new Set([...graph.allGraphs()].flatMap((g) => g.outputs));
  for (const node of graph.nodes) {
    const [y] = node.outputs;
    if (!isAdapted(node) || y === undefined || node.inputs[4] !== undefined || handedOut.has(y)) continue;
    const [use, ...others] = y.uses;
    if (use === undefined || others.length > 0 || use.node.graph !== graph || use.node.op !== 'Add') continue;
    const add = use.node;
    const [sum] = add.outputs;
    const bias = add.inputs[1 - use.index];
    if (sum === undefined || bias === undefined || !isBias(bias, node)) continue;
    add.setInput(use.index, undefined);
    node.setInput(4, bias);
    node.replaceOutput(0, sum);
    gone.add(add);
  }
  graph.removeAll(gone);
}

/** One frozen number per column of the product, which has rows (a vector's sum could gain an axis). */
function isBias(value: Value, { inputs: [x], layer }: Node): boolean {
  const dims = value.tensor?.dims;
  return dims?.length === 1 && dims[0] === layer?.out && (x?.shape?.length ?? 0) > 1 && x?.dtype === value.dtype;
}
