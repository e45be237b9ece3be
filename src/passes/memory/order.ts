/**
 * The order in which ONNX Runtime runs a graph: depth first from its last leaf back to the inputs, where the last of a
 * node's producers in file order comes first (onnxruntime, core/framework/graph_viewer.cc and Graph::ReverseDFSFrom).
 */
import { type Graph, type Node, producersOf } from '../../graph/model.ts';

/** The nodes of one graph, not those of its bodies. */
export function executionOrder(graph: Graph): Node[] {
  const at = new Map(graph.nodes.map((n, i) => [n, i]));
  const needs = new Map<Node, Node[]>();
  const read = new Set<Node>();
  const byPlace = (a: Node, b: Node): number => (at.get(a) ?? 0) - (at.get(b) ?? 0);
  for (const node of graph.nodes) {
    const makers = [...new Set(producersOf(node))].filter((n) => at.has(n)).sort(byPlace);
    needs.set(node, makers);
    for (const n of makers) read.add(n);
  }
  const order: Node[] = [];
  const seen = new Set<Node>();
  const stack: { readonly node: Node; readonly leave: boolean }[] = [];
  for (const node of graph.nodes) if (!read.has(node)) stack.push({ node, leave: false });
  for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
    if (top.leave) order.push(top.node);
    else if (!seen.has(top.node)) {
      seen.add(top.node);
      stack.push({ node: top.node, leave: true });
      for (const node of needs.get(top.node) ?? []) if (!seen.has(node)) stack.push({ node, leave: false });
    }
  }
  return order;
}
