/** New nodes for a graph whose order is settled: collected first, inserted at once. */
import type { Graph, Node } from '../../graph/model.ts';

/** Nodes to insert right before or behind others of a graph, in the order in which they were made. */
export class Insertions {
  readonly #before = new Map<Node, Node[]>();
  /** Those at the start of the graph under `undefined`. */
  readonly #behind = new Map<Node | undefined, Node[]>();

  before(anchor: Node, node: Node): void {
    this.#before.set(anchor, [...(this.#before.get(anchor) ?? []), node]);
  }

  behind(anchor: Node | undefined, node: Node): void {
    this.#behind.set(anchor, [...(this.#behind.get(anchor) ?? []), node]);
  }

  apply(graph: Graph): void {
    const first = this.#behind.get(undefined) ?? [];
    const order = graph.nodes.flatMap((n) => [...(this.#before.get(n) ?? []), n, ...(this.#behind.get(n) ?? [])]);
    const fresh = new Set(order.filter((n) => n.graph === undefined));
    for (const n of [...fresh, ...first]) n.attach(graph);
    graph.nodes.splice(0, graph.nodes.length, ...first, ...order);
  }
}
