/** Outputs that hand a cache on to the next step: no training step has one. */
import type { Graph, Value } from '../../../graph/model.ts';
import { handsOnCache } from './caches.ts';
import { isPresent } from './names.ts';

/** In place. An output that was asked for stays, and one output always does. */
export function dropPresents(graph: Graph, caches: ReadonlySet<Value>, asked: string | undefined): void {
  const kept = graph.outputs.filter((v) => {
    const several = v.shape === undefined || v.shape.length >= 3;
    return v.name === asked || !((several && isPresent(v.name)) || handsOnCache(v, caches));
  });
  if (kept.length === 0 || kept.length === graph.outputs.length) return;
  graph.outputs.length = 0;
  graph.outputs.push(...kept);
}
