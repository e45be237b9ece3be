/** Converts batches to the feeds of the graphs. */

import type { Manifest } from '../../formats/manifest.ts';
import type { NumericArray } from '../../formats/rawTensor.ts';
import { losses, noLabel } from '../../graph/choices/losses.ts';
import { newArray } from '../data/convert.ts';
import type { BatchTensor } from '../data/index.ts';
import type { Feeds } from '../worker/protocol.ts';

/** The types and dims of a batch as a string: batches with equal strings can be stacked. */
export function signature(feeds: Feeds): string {
  return Object.entries(feeds)
    .map(([name, { type, dims }]) => `${name}:${type}[${dims.join(',')}]`)
    .join(' ');
}

/** Batches of equal shapes, stacked along a new first axis. */
export function stacked(batches: readonly Feeds[]): Feeds {
  const [first = {}] = batches;
  const entries = Object.entries(first).map(([name, { type, dims, data }]): [string, BatchTensor] => {
    const all = newArray(type, data.length * batches.length);
    const size = data.byteLength;
    const bytes = new Uint8Array(all.buffer, all.byteOffset, all.byteLength);
    for (const [i, batch] of batches.entries()) {
      const part = batch[name]?.data ?? data;
      bytes.set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength), i * size);
    }
    return [name, { type, dims: [batches.length, ...dims], data: all }];
  });
  return Object.fromEntries(entries);
}

/**
 * The number of elements that the loss of a batch is the mean of (with class weights: their sum), equal to the graphs'
 * `weight` output. Batches are combined with it if a graph does not output it.
 */
export function lossWeight({ loss, labels, fixed }: Manifest, feeds: Feeds): number {
  const given = labels === undefined ? undefined : feeds[labels.name];
  if (loss === undefined || given === undefined) return 1;
  const { over, shift } = losses[loss.kind];
  if (over === 'elements') return given.data.length - (fixed === undefined ? 0 : unlabelled(given.data));
  if (over !== 'classes') return 1;
  // Position i is compared with label i + 1: the first label of a row is ignored.
  const length = shift === true ? (given.dims[1] ?? 0) : 0;
  let weight = 0;
  for (let i = 0; i < given.data.length; i++) {
    const label = Number(given.data[i]);
    if (label === loss.ignoreIndex || (length > 0 && i % length === 0)) continue;
    weight += loss.classWeights?.[label] ?? 1;
  }
  return weight;
}

function unlabelled(data: NumericArray): number {
  let count = 0;
  for (const label of data) if (Number(label) >= noLabel) count++;
  return count;
}
