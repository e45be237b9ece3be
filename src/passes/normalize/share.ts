/**
 * Merges values with equal shape elements. Exporters compute `[batch, seq, 12, 64]` again for every layer; shape
 * inference has the elements as symbols, and equal symbols are equal dims, so the first such value replaces all others.
 */
import { type Graph, type Model, replaceUses, type Value } from '../../graph/model.ts';
import { outputsOf } from './constants.ts';

/** In place; unused nodes are left for removeDead. */
export function shareLengths(model: Model): void {
  shareIn(model.graph, new Map(), outputsOf(model));
}

function shareIn(graph: Graph, outer: ReadonlyMap<string, Value>, results: ReadonlySet<Value>): void {
  const known = new Map(outer);
  for (const node of graph.nodes) {
    for (const body of node.bodies) shareIn(body, known, results);
    for (const v of node.outputs) {
      const key = keyOf(v);
      const first = key === undefined ? undefined : known.get(key);
      if (key === undefined) continue;
      if (first === undefined) known.set(key, v);
      else if (!results.has(v)) replaceUses(v, first);
    }
  }
}

/** undefined unless type, shape and all elements are known. */
function keyOf({ dtype, shape, elements }: Value): string | undefined {
  if (dtype === undefined || shape === undefined || elements === undefined || elements.includes(null)) return undefined;
  if (shape.some((d) => typeof d !== 'number')) return undefined;
  return JSON.stringify([dtype, shape, elements]);
}
