/** Builds the body graph of a control-flow operator from the nodes that were made for it. */
import { Graph, type Node, producersOf, readsOf, type Value } from './model.ts';

export interface Parts {
  /** Nodes that may join the body, detached; those that no result needs are left out. */
  readonly made: ReadonlySet<Node>;
  /** Constants that become part of the body if it reads them; it captures all others. */
  readonly local: ReadonlySet<Value>;
}

/**
 * A graph with `results` as outputs and its nodes in topological order. The outputs of a body must be distinct values
 * of its own nodes: `copy` makes such a node for any other result.
 */
export function bodyOf(results: readonly Value[], { made, local }: Parts, copy: (v: Value) => Value): Graph {
  const graph = new Graph();
  const handed = new Set<Value>();
  for (const v of results) {
    const own = v.producer !== undefined && made.has(v.producer) && !handed.has(v);
    handed.add(own ? v : copy(v));
  }
  const reached = new Set<Node>();
  const todo = [...handed].flatMap((v) => v.producer ?? []);
  for (let n = todo.pop(); n !== undefined; n = todo.pop()) {
    if (reached.has(n) || !made.has(n)) continue;
    reached.add(n);
    todo.push(...producersOf(n));
  }
  const placed = new Set<Node>();
  const place = (n: Node): void => {
    if (placed.has(n)) return;
    placed.add(n);
    for (const p of producersOf(n)) if (reached.has(p)) place(p);
    graph.append(n);
  };
  // The order by serial is nearly topological: a node is made after its inputs, unless it was given more inputs later.
  for (const n of [...reached].sort((a, b) => a.serial - b.serial)) place(n);
  // Bodies of nodes that were not reached drop their uses of outer values.
  for (const n of made)
    if (!reached.has(n)) for (const b of n.bodies) for (const inner of [...b.allNodes()]) inner.detach();
  const read = new Set(graph.nodes.flatMap(readsOf));
  graph.initializers.push(...[...local].filter((v) => read.has(v)));
  graph.outputs.push(...handed);
  return graph;
}
