/**
 * Refuses a package whose training graph computes no gradient: releases before this check compiled a loss on the output
 * of an ArgMax, which trained nothing.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { lossUnreached } from '../errors.ts';
import { type Manifest, readManifest } from '../formats/manifest.ts';
import { ancestorsOf } from '../graph/ancestors.ts';
import type { Graph } from '../graph/model.ts';
import { parseFile } from '../parser/index.ts';

/** Throws LOSS_UNREACHED. Anything else that is wrong with the package is left to the training. */
export function checkTrainable(directory: string): void {
  const manifest = readManifest(directory);
  const { train } = manifest.graphs;
  if (train === undefined || !existsSync(join(directory, train))) return;
  const { model, source } = parseFile(join(directory, train));
  source.close();
  if (readsData(model.graph, manifest.state)) return;
  throw lossUnreached(
    `the loss on output "${manifest.loss?.output}" has no gradient for any layer: "${train}" of this package leaves the adapter as it is; compile the model again`,
  );
}

/** Whether the next parameters depend on an input that is not the state's. */
function readsData(graph: Graph, { params, m, v, step, lossScale, lr }: Manifest['state']): boolean {
  const own = new Set([params, m, v ?? [], step, lossScale ?? []].flat());
  const next = graph.outputs.filter((o) => o.name === params[1]);
  const read = ancestorsOf(next);
  return next.length === 0 || graph.inputs.some((v) => read.has(v) && !own.has(v.name) && v.name !== lr);
}
