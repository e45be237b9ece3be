/** Splits a gradient graph into forward nodes (needed by loss and outputs) and backward nodes. */
import { type Graph, type Node, producersOf } from '../../graph/model.ts';
import { ruleOf } from './ruleOf.ts';

export const isBackward = (node: Node): boolean => ruleOf(node).startsWith('grad/');

/** The nodes of the forward; undefined for a graph without a gradient. */
export function forwardOf(graph: Graph): Set<Node> | undefined {
  const backward = new Set<Node>();
  for (const node of graph.nodes)
    if (isBackward(node) || producersOf(node).some((p) => backward.has(p))) backward.add(node);
  if (backward.size === 0) return undefined;
  const forward = new Set<Node>();
  const todo = graph.outputs.flatMap(({ producer }) => (producer && !backward.has(producer) ? [producer] : []));
  for (let node = todo.pop(); node !== undefined; node = todo.pop()) {
    if (forward.has(node) || node.graph !== graph) continue;
    forward.add(node);
    todo.push(...producersOf(node));
  }
  return forward;
}
