/** Passes that put other nodes in the place of some, wherever these stand. */
import type { Builder } from '../../graph/builder.ts';
import type { Graph, Node } from '../../graph/model.ts';

/**
 * Calls `rewrite` for the nodes that are `wanted`, bodies before the node that holds them, with a builder for the graph at hand. In
 * a body new nodes take the place of the old one; those of the main graph stay detached until `graph.adopt()`.
 */
export function rewriteNodes(
  graph: Graph,
  g: Builder,
  wanted: (node: Node) => boolean,
  rewrite: (node: Node, g: Builder) => void,
  place?: (before: Node) => void,
): void {
  for (const node of [...graph.nodes]) {
    for (const body of node.bodies) {
      const inside = g.inside(body);
      rewriteNodes(body, inside.g, wanted, rewrite, inside.place);
    }
    const isWanted = wanted(node);
    if (isWanted) rewrite(node, g);
    // Also lengths that a body of this node asked for.
    place?.(node);
    if (isWanted && place !== undefined) graph.remove(node);
  }
}
