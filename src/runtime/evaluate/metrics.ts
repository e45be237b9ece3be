/** Sums over the batches of an evaluation. */

import { badData } from '../../errors.ts';

export interface WeightedMean {
  /** Adds a batch's mean, over `weight` elements. A batch without elements adds nothing, whatever its mean. */
  add(mean: number, weight: number): void;
  /** The mean over all elements; NaN before the first one. */
  readonly value: number;
  readonly weight: number;
}

/** The mean of batch means, each weighted by its `weight`: equal to the mean of a single batch with all rows. */
export function weightedMean(): WeightedMean {
  let sum = 0;
  let weight = 0;
  return {
    add(mean, w) {
      if (w === 0) return; // 0/0 of an empty batch
      sum += mean * w;
      weight += w;
    },
    get value() {
      return sum / weight;
    },
    get weight() {
      return weight;
    },
  };
}

export interface AccuracyOptions {
  /** Axis of the classes in the logits; negative counts from the end. Default -1. */
  readonly classAxis?: number | undefined;
  /** The ignored label. Default -100. */
  readonly ignoreIndex?: number | undefined;
  /** causal-lm: the logits [N, S, C] at s predict the label [N, S] at s + 1. */
  readonly shift?: boolean | undefined;
}

export interface Accuracy {
  /**
   * Adds one batch.
   * @param logits elements in C order of shape `dims`, as numbers (not float16 bit patterns).
   * @param labels class indices of the shape `dims` without the class axis. Errors: BAD_DATA if the sizes do not match.
   */
  add(logits: ArrayLike<number>, dims: readonly number[], labels: ArrayLike<bigint | number>): void;
  /** correct / total; NaN before the first label that is not ignored. */
  readonly value: number;
  /**
   * The mean F1 of the classes that are labels or predictions, as scikit-learn's f1_score(average="macro"); NaN before
   * the first label.
   */
  readonly f1: number;
  readonly correct: number;
  readonly total: number;
}

/** Share of labels with the highest logit. Of equal logits the first one counts; NaN is never the highest. */
export function accuracy(options: AccuracyOptions = {}): Accuracy {
  const { classAxis = -1, ignoreIndex = -100, shift = false } = options;
  const counts = classCounts();
  return {
    add(logits, dims, labels) {
      const axis = classAxis < 0 ? dims.length + classAxis : classAxis;
      const classes = dims[axis];
      const inner = product(dims.slice(axis + 1));
      const outer = product(dims.slice(0, axis));
      if (classes === undefined || outer * classes * inner !== logits.length || outer * inner !== labels.length) {
        throw badData(`${labels.length} labels do not fit logits of the shape [${dims.join(', ')}]`);
      }
      const length = shift ? (dims[1] ?? 0) : 0;
      for (let i = 0; i < outer * inner; i++) {
        // With shift the classes are last, so i counts (row, position).
        if (shift && i % length === length - 1) continue;
        const label = Number(labels[shift ? i + 1 : i]);
        if (label === ignoreIndex) continue;
        const start = Math.floor(i / inner) * classes * inner + (i % inner);
        counts.add(argmax(logits, start, classes, inner), label);
      }
    },
    get value() {
      return counts.correct / counts.total;
    },
    get f1() {
      return counts.f1;
    },
    get correct() {
      return counts.correct;
    },
    get total() {
      return counts.total;
    },
  };
}

export interface ClassCounts {
  /** Adds one prediction (-1: none) for a label. */
  add(predicted: number, label: number): void;
  readonly correct: number;
  readonly total: number;
  /** The same as Accuracy.f1. */
  readonly f1: number;
}

/** Predictions counted by class: memory in proportion to the classes, whatever the number of rows. */
export function classCounts(): ClassCounts {
  const classes = new Map<number, { hits: number; labels: number; predictions: number }>();
  let correct = 0;
  let total = 0;
  const of = (index: number): { hits: number; labels: number; predictions: number } => {
    const found = classes.get(index) ?? { hits: 0, labels: 0, predictions: 0 };
    classes.set(index, found);
    return found;
  };
  return {
    add(predicted, label) {
      total += 1;
      of(label).labels += 1;
      if (predicted >= 0) of(predicted).predictions += 1;
      if (predicted !== label) return;
      correct += 1;
      of(label).hits += 1;
    },
    get correct() {
      return correct;
    },
    get total() {
      return total;
    },
    get f1() {
      let sum = 0;
      for (const { hits, labels, predictions } of classes.values()) sum += (2 * hits) / (labels + predictions);
      return sum / classes.size;
    },
  };
}

/** The index of the highest value; -1 if all are NaN. */
function argmax(values: ArrayLike<number>, start: number, count: number, stride: number): number {
  let best = -1;
  let highest = Number.NaN;
  for (let k = 0; k < count; k++) {
    const value = values[start + k * stride] ?? Number.NaN;
    if (value > highest || (best < 0 && !Number.isNaN(value))) {
      best = k;
      highest = value;
    }
  }
  return best;
}

function product(dims: readonly number[]): number {
  return dims.reduce((a, b) => a * b, 1);
}
