/** Loss and metrics over a data file, and the model's outputs row by row. The state is not changed. */

import { type Manifest, openShape } from '../../formats/manifest.ts';
import { losses } from '../../graph/choices/losses.ts';
import { halfToNumber } from '../../graph/tensor.ts';
import { isElementType } from '../data/convert.ts';
import { type BatchOptions, type BatchTensor, batch, type Dataset } from '../data/index.ts';
import type { Engine } from '../worker/engine.ts';
import { binary, type ElementMetrics, regression } from './elementMetrics.ts';
import { accuracy, type ClassCounts, classCounts, weightedMean } from './metrics.ts';

export interface Evaluation {
  /** Mean over all elements that are not ignored; NaN if there are none, or if the graph does not compute the loss. */
  readonly loss: number;
  /** The number of these elements (with class weights: their sum). */
  readonly weight: number;
  /** The number of rows. */
  readonly examples: number;
  /** Share of labels with the highest score: cross-entropy. bce: share of rows that are correct. */
  readonly accuracy?: number;
  /** Share of counted tokens that have the highest score: causal-lm. */
  readonly token_accuracy?: number;
  /** The mean F1 of the classes (cross-entropy), or of the labels (bce). */
  readonly f1?: number;
  /** exp(loss): causal-lm. */
  readonly perplexity?: number;
  /** Mean absolute error, and coefficient of determination: mse, l1 and huber. */
  readonly mae?: number;
  readonly r2?: number;
  /** Doubts about the data, for the user. */
  readonly warnings?: readonly string[];
}

export interface EvaluateOptions {
  readonly batchSize: number;
  /** The graphs fix this batch size: rows that fill no batch are left out. */
  readonly fixedBatch: boolean;
  readonly batch: BatchOptions;
  /** Called after each batch with the number of rows done. */
  readonly onProgress?: ((rows: number) => void) | undefined;
}

/** Evaluates the current state. Errors: those of reading the data and of the engine. */
export async function evaluate(engine: Engine, dataset: Dataset, options: EvaluateOptions): Promise<Evaluation> {
  const { manifest } = engine;
  const { loss: kind, labels } = manifest;
  const elementwise = elementMetrics(manifest);
  const row = kind === undefined ? undefined : losses[kind.kind];
  const hasClasses = row?.over === 'classes';
  const compared = hasClasses || elementwise !== undefined ? await comparedOutput(engine) : undefined;
  const output = elementwise === undefined || compared?.isScore === true ? compared : undefined;
  const shift = row?.shift === true;
  const { ignoreIndex, classAxis } = kind ?? {};
  // A model may output the predicted class itself.
  const scored = accuracy({ classAxis, ignoreIndex, shift });
  const winners = classCounts();
  const mean = weightedMean();
  let examples = 0;
  for (const rows of batches(dataset.rows, options)) {
    const feeds = batch(dataset, rows, options.batch);
    // The feeds are transferred to the worker.
    const given = output === undefined || labels === undefined ? undefined : feeds[labels.name];
    const truth = given && { type: given.type, data: given.data.slice() };
    const { loss, weight, outputs } = await engine.evaluate(feeds, output === undefined ? [] : [output.name]);
    mean.add(loss, weight);
    examples += rows.length;
    const found = output === undefined ? undefined : outputs[output.name];
    if (found !== undefined && truth !== undefined) {
      if (elementwise !== undefined) elementwise.add(numbers(found), numbers(truth));
      else if (output?.isScore === true) scored.add(numbers(found), found.dims, truth.data);
      else countHits(winners, indices(numbers(found), kind?.classLabels), truth.data, ignoreIndex);
    }
    options.onProgress?.(examples);
  }
  const isScore = output?.isScore === true;
  const right = isScore ? scored.value : winners.correct / winners.total;
  const classMetrics =
    row?.metrics === 'tokens' ? { token_accuracy: right } : { accuracy: right, f1: isScore ? scored.f1 : winners.f1 };
  return {
    loss: mean.value,
    weight: mean.weight,
    examples,
    ...(output === undefined ? {} : (elementwise?.result() ?? classMetrics)),
    ...(row?.metrics === 'tokens' ? { perplexity: Math.exp(mean.value) } : {}),
  };
}

/** Sums for losses over elements; undefined for others. */
function elementMetrics({ loss, labels }: Manifest): ElementMetrics<Partial<Evaluation>> | undefined {
  const shape = labels === undefined ? [] : openShape(labels);
  const last = shape.length > 1 ? shape.at(-1) : 1;
  // Along an open axis the columns are not separate quantities.
  const columns = typeof last === 'number' && last > 0 ? last : 1;
  if (loss === undefined) return undefined;
  const { metrics } = losses[loss.kind];
  if (metrics === 'regression') return regression(columns);
  // If the loss is attached before a Sigmoid, the output is a probability.
  const threshold = loss.threshold ?? (loss.output === loss.tensor ? 0 : 0.5);
  return metrics === 'binary' ? binary(columns, threshold) : undefined;
}

/** The output that the loss was chosen for: values or scores per class, or the predicted class if it is an integer. */
async function comparedOutput(
  engine: Engine,
): Promise<{ readonly name: string; readonly isScore: boolean } | undefined> {
  const { loss } = engine.manifest;
  const { outputs } = await engine.describe('eval');
  const found = outputs.find(({ name }) => name === loss?.output);
  if (found === undefined || !isElementType(found.type)) return undefined;
  const isScore = /^float/.test(found.type);
  if (!isScore && loss?.classLabels?.length === 0) return undefined;
  // With a shift the predicted classes would have to be shifted against the labels; no model outputs them.
  const shift = loss !== undefined && losses[loss.kind].shift === true;
  return isScore || !shift ? { name: found.name, isScore } : undefined;
}

/** The indices of predicted classes that the model names by numbers. */
const indices = (classes: ArrayLike<number>, names: readonly number[] | undefined): ArrayLike<number> =>
  names === undefined ? classes : Array.from(classes, (name) => names.indexOf(name));

function countHits(
  counts: ClassCounts,
  classes: ArrayLike<number>,
  labels: ArrayLike<bigint | number>,
  ignoreIndex = -100,
): void {
  if (classes.length !== labels.length) return;
  for (let i = 0; i < labels.length; i++) {
    const label = Number(labels[i]);
    if (label === ignoreIndex) continue;
    counts.add(classes[i] ?? -1, label);
  }
}

/** Elements as numbers: float16 comes as bit patterns. */
export function numbers({ type, data }: Pick<BatchTensor, 'type' | 'data'>): ArrayLike<number> {
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) return Float64Array.from(data, Number);
  return type === 'float16' ? Float32Array.from(data, halfToNumber) : data;
}

function* batches(rows: number, { batchSize, fixedBatch }: EvaluateOptions): Generator<Uint32Array> {
  const end = fixedBatch ? rows - (rows % batchSize) : rows;
  for (let start = 0; start < end; start += batchSize) {
    yield Uint32Array.from({ length: Math.min(batchSize, end - start) }, (_, i) => start + i);
  }
}
