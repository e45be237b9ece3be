/** Replaces matching nodes in a graph and its subgraphs. */
import type { Builder } from '../../graph/builder.ts';
import type { Graph, Node } from '../../graph/model.ts';

/**
 * Calls `rewrite` for the nodes that match `wanted`, bodies before the node they belong to, with a builder for the
 * current graph. In a body, new nodes are inserted before the old one; those of the main graph stay detached until
 * `graph.adopt()`.
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
    // Also places dims that a body of this node requested.
    place?.(node);
    if (isWanted && place !== undefined) graph.remove(node);
  }
}
