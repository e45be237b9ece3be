/** Cuts a model off behind the value that a head reads: the rest of the source stays as it is. */
import { ancestorsOf } from '../../graph/ancestors.ts';
import { capturedBy, type Graph, type Node, type Value } from '../../graph/model.ts';

/** The value replaces an output, and everything that only that output needed is removed. In place. */
export function cutBehind(graph: Graph, value: Value, replaced: Value): void {
  const at = graph.outputs.indexOf(replaced);
  if (at < 0 || value === replaced) return;
  graph.outputs[at] = value;
  // Its type was declared as that of an output.
  replaced.declared = true;
  const behind = ancestorsOf([replaced]);
  const kept = new Set<Value>(graph.outputs);
  for (const body of graph.bodies()) for (const g of body.allGraphs()) for (const v of g.outputs) kept.add(v);
  const gone = new Set<Node>();
  const isRead = (v: Value): boolean => kept.has(v) || [...v.uses].some((u) => !gone.has(u.node));
  const touched = new Set<Value>();
  for (const node of graph.nodes.toReversed()) {
    if (!node.outputs.some((v) => behind.has(v)) || node.outputs.some(isRead)) continue;
    gone.add(node);
    for (const v of [...node.inputs, ...capturedBy(node)]) if (v !== undefined) touched.add(v);
  }
  graph.removeAll(gone);
  for (const n of gone) for (const body of n.bodies) for (const inner of body.allNodes()) inner.detach();
  const unread = (v: Value): boolean =>
    touched.has(v) && v.uses.size === 0 && !kept.has(v) && !graph.inputs.includes(v);
  const rest = graph.initializers.filter((v) => !unread(v));
  graph.initializers.splice(0, graph.initializers.length, ...rest);
}
