/** A body of control flow, out of the nodes that were made for it. */
import { Graph, type Node, producersOf, readsOf, type Value } from './model.ts';

export interface Parts {
  /** Nodes that may stand in the body, detached; those that no result needs stay out. */
  readonly made: ReadonlySet<Node>;
  /** Constants that join the body where it reads them; all others it captures. */
  readonly local: ReadonlySet<Value>;
}

/**
 * A graph that hands out `results`, each of its nodes after what it reads. A body hands out results of its own nodes, each once:
 * `copy` makes an own node for any other.
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
  // Nearly in order already: a node is made after what it reads, unless it was given more inputs later.
  for (const n of [...reached].sort((a, b) => a.serial - b.serial)) place(n);
  // Bodies of nodes that nothing reached read nothing any more.
  for (const n of made)
    if (!reached.has(n)) for (const b of n.bodies) for (const inner of [...b.allNodes()]) inner.detach();
  const read = new Set(graph.nodes.flatMap(readsOf));
  graph.initializers.push(...[...local].filter((v) => read.has(v)));
  graph.outputs.push(...handed);
  return graph;
}
