/**
 * Moves weights of a body to the main graph, from which the body captures them: a gradient computes the body a second
 * time, and both read the one weight. Small constants stay with the nodes that read them.
 */
import type { Graph } from '../../graph/model.ts';
import { inlineBytes } from '../../graph/tensor.ts';

/** In place; names become unique with `graph.adopt()`. */
export function hoistWeights(graph: Graph): void {
  for (const body of graph.allGraphs()) {
    if (body === graph) continue;
    for (const v of body.initializers.splice(0))
      ((v.tensor?.byteLength ?? 0) > inlineBytes ? graph : body).initializers.push(v);
  }
}
