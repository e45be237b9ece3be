/** Loss and metrics over a data file, and the model's outputs row by row. Nothing here changes the state. */

import { halfToNumber } from '../graph/tensor.ts';
import { type BatchOptions, type BatchTensor, batch, type Dataset } from './data/index.ts';
import type { Engine } from './engine.ts';
import { accuracy, weightedMean } from './metrics.ts';

export interface Evaluation {
  /** Mean over all elements that count; NaN where there are none, or the loss is not the graph's. */
  readonly loss: number;
  /** How many elements that is (with class weights: their sum). */
  readonly weight: number;
  /** Rows. */
  readonly examples: number;
  /** Share of labels that the highest score hits: cross-entropy and causal-lm. */
  readonly accuracy?: number;
  /** exp(loss): causal-lm. */
  readonly perplexity?: number;
}

export interface EvaluateOptions {
  readonly batchSize: number;
  /** The graphs have this batch size fixed: rows that fill no batch are left out. */
  readonly fixedBatch: boolean;
  readonly batch: BatchOptions;
  /** Called after each batch with the rows done. */
  readonly onProgress?: ((rows: number) => void) | undefined;
}

/** Errors: those of reading the data and of the engine. */
export async function evaluate(engine: Engine, dataset: Dataset, options: EvaluateOptions): Promise<Evaluation> {
  const { manifest } = engine;
  const { loss: kind, labels } = manifest;
  const hasClasses = kind?.kind === 'cross-entropy' || kind?.kind === 'causal-lm';
  const output = hasClasses ? await classOutput(engine) : undefined;
  const shift = kind?.kind === 'causal-lm';
  const { ignoreIndex, classAxis } = kind ?? {};
  // A model may give the winning class itself.
  const scored = accuracy({ classAxis, ignoreIndex, shift });
  const winners = { hits: 0, total: 0 };
  const mean = weightedMean();
  let examples = 0;
  for (const rows of batches(dataset.rows, options)) {
    const feeds = batch(dataset, rows, options.batch);
    // The feeds are moved to the worker.
    const truth = output === undefined || labels === undefined ? undefined : feeds[labels.name]?.data.slice();
    const { loss, weight, outputs } = await engine.evaluate(feeds, output === undefined ? [] : [output.name]);
    mean.add(loss, weight);
    examples += rows.length;
    const found = output === undefined ? undefined : outputs[output.name];
    if (found !== undefined && truth !== undefined) {
      if (output?.isScore === true) scored.add(numbers(found), found.dims, truth);
      else countHits(winners, numbers(found), truth, ignoreIndex);
    }
    options.onProgress?.(examples);
  }
  const hits = output?.isScore === true ? scored.value : winners.hits / winners.total;
  return {
    loss: mean.value,
    weight: mean.weight,
    examples,
    ...(output === undefined ? {} : { accuracy: hits }),
    ...(shift ? { perplexity: Math.exp(mean.value) } : {}),
  };
}

/** The output that the loss was chosen for: scores per class, or the winning class where it is an integer. */
async function classOutput(engine: Engine): Promise<{ readonly name: string; readonly isScore: boolean } | undefined> {
  const { loss } = engine.manifest;
  const { outputs } = await engine.describe('eval');
  const found = outputs.find(({ name }) => name === loss?.output);
  if (found === undefined) return undefined;
  const isScore = /^float/.test(found.type);
  // With a shift the winning classes would have to be moved against the labels; no model does this.
  return isScore || loss?.kind === 'cross-entropy' ? { name: found.name, isScore } : undefined;
}

function countHits(
  counts: { hits: number; total: number },
  classes: ArrayLike<number>,
  labels: ArrayLike<bigint | number>,
  ignoreIndex = -100,
): void {
  if (classes.length !== labels.length) return;
  for (let i = 0; i < labels.length; i++) {
    const label = Number(labels[i]);
    if (label === ignoreIndex) continue;
    counts.total += 1;
    if (classes[i] === label) counts.hits += 1;
  }
}

/** Elements as numbers: float16 comes as bit patterns. */
export function numbers({ type, data }: BatchTensor): ArrayLike<number> {
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) return Float64Array.from(data, Number);
  return type === 'float16' ? Float32Array.from(data, halfToNumber) : data;
}

function* batches(rows: number, { batchSize, fixedBatch }: EvaluateOptions): Generator<Uint32Array> {
  const end = fixedBatch ? rows - (rows % batchSize) : rows;
  for (let start = 0; start < end; start += batchSize) {
    yield Uint32Array.from({ length: Math.min(batchSize, end - start) }, (_, i) => start + i);
  }
}
