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
  const scores = kind?.kind === 'cross-entropy' || kind?.kind === 'causal-lm' ? await scoresName(engine) : undefined;
  const shift = kind?.kind === 'causal-lm';
  const counted = accuracy({ classAxis: kind?.classAxis, ignoreIndex: kind?.ignoreIndex, shift });
  const mean = weightedMean();
  let examples = 0;
  for (const rows of batches(dataset.rows, options)) {
    const feeds = batch(dataset, rows, options.batch);
    const given = labels === undefined ? undefined : feeds[labels.name];
    // The feeds are moved to the worker.
    const truth = scores === undefined ? undefined : labelsOf(given);
    const { loss, weight, outputs } = await engine.evaluate(feeds, scores === undefined ? [] : [scores.name]);
    mean.add(loss, weight);
    examples += rows.length;
    const output = scores === undefined ? undefined : outputs[scores.name];
    if (output !== undefined && truth !== undefined) counted.add(numbers(output), output.dims, truth);
    options.onProgress?.(examples);
  }
  return {
    loss: mean.value,
    weight: mean.weight,
    examples,
    ...(scores === undefined ? {} : { accuracy: counted.value }),
    ...(shift ? { perplexity: Math.exp(mean.value) } : {}),
  };
}

/** The output that holds a score per class; undefined where the model gives only the winning class. */
async function scoresName(engine: Engine): Promise<{ readonly name: string } | undefined> {
  const { outputs } = await engine.describe('eval');
  const found = outputs.find(({ name }) => name === engine.manifest.loss?.output);
  return found !== undefined && /^float/.test(found.type) ? { name: found.name } : undefined;
}

function labelsOf(tensor: BatchTensor | undefined): ArrayLike<bigint | number> | undefined {
  return tensor?.data.slice();
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
