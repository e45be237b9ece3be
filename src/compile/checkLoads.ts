/** Opens graphs of a new package in ONNX Runtime, so that a model which it refuses is refused here, with its sentence. */

import { join } from 'node:path';
import { graphRefused, sourceRefused } from '../errors.ts';
import type { Manifest } from '../formats/manifest.ts';
import { refusal } from '../runtime/index.ts';

/** Graphs beside model.onnx, which has all of the source: the one that has most of the others in it comes first. */
const order = ['train', 'grad', 'train_k', 'eval', 'update'] as const;

/** Errors: SOURCE_REFUSED if the source is at fault, else GRAPH_REFUSED; RUNTIME_FAILED. */
export async function checkLoads(folder: string, { graphs }: Manifest, source: string): Promise<void> {
  const other = order.map((graph) => graphs[graph]).find((file) => file !== undefined);
  for (const name of [graphs.model, other].filter((file) => file !== undefined)) {
    const reason = await refusal(join(folder, name));
    if (reason === undefined) continue;
    // model.onnx alone is for runtimes that have the operators of its own domains.
    if (other === undefined && /is not a registered function\/op/.test(reason)) continue;
    const own = await refusal(source);
    throw own === undefined ? graphRefused(name, reason, source) : sourceRefused(source, own);
  }
}
