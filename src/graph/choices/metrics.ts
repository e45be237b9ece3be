/** Metrics of an evaluation: what decides which adapter of a run is the best. */
import { type Choice, keysOf } from './choice.ts';
import { type LossKind, losses } from './losses.ts';

export interface Metric extends Choice {
  readonly better: 'lower' | 'higher';
  /** Its name for people. */
  readonly label: string;
  /** A share of 1, printed in percent. */
  readonly isShare?: true;
}

const rows = {
  loss: { help: 'the mean loss', label: 'loss', better: 'lower' },
  accuracy: { help: 'share of rows or labels that are right', label: 'accuracy', better: 'higher', isShare: true },
  token_accuracy: {
    help: 'share of counted tokens that have the highest score',
    label: 'token accuracy',
    better: 'higher',
    isShare: true,
  },
  f1: { help: 'mean F1 of the classes or labels', label: 'F1', better: 'higher' },
  perplexity: { help: 'exp(loss)', label: 'perplexity', better: 'lower' },
  mae: { help: 'mean absolute error', label: 'MAE', better: 'lower' },
  r2: { help: 'coefficient of determination', label: 'R2', better: 'higher' },
} as const satisfies Readonly<Record<string, Metric>>;

export type MetricName = keyof typeof rows;
export const metrics: Readonly<Record<MetricName, Metric>> = rows;
export const metricNames: readonly MetricName[] = keysOf(rows);

/** The metrics beside the loss, by the kind of a loss's metrics, in the order in which they are printed. */
const ofKind = {
  classes: ['accuracy', 'f1'],
  tokens: ['token_accuracy', 'perplexity'],
  binary: ['accuracy', 'f1'],
  regression: ['mae', 'r2'],
} as const satisfies Readonly<Record<string, readonly MetricName[]>>;

/** The metrics of a loss, itself the last. */
export function metricsOf(loss: LossKind | undefined): readonly MetricName[] {
  const kind = loss === undefined ? undefined : losses[loss].metrics;
  return [...(kind === undefined ? [] : ofKind[kind]), 'loss'];
}

/** Whether a value of a metric beats another. NaN and infinity beat nothing. */
export const beats = (metric: MetricName, value: number, other: number): boolean =>
  Number.isFinite(value) &&
  (!Number.isFinite(other) || (metrics[metric].better === 'lower' ? value < other : value > other));
