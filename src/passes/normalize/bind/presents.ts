/** Removes outputs that return a cache for the next step: a training step has no next step. */
import type { Graph, Value } from '../../../graph/model.ts';
import { returnsCache } from './caches.ts';
import { isPresent } from './names.ts';

/** In place. An output that the user chose is kept, and at least one output always is. */
export function dropPresents(graph: Graph, caches: ReadonlySet<Value>, lossOutput: string | undefined): void {
  const kept = graph.outputs.filter((v) => {
    const several = v.shape === undefined || v.shape.length >= 3;
    return v.name === lossOutput || !((several && isPresent(v.name)) || returnsCache(v, caches));
  });
  if (kept.length === 0 || kept.length === graph.outputs.length) return;
  graph.outputs.length = 0;
  graph.outputs.push(...kept);
}
