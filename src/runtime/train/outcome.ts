/** The evaluations of a run: the one before the first step, the best, the last. */

import { badOption } from '../../errors.ts';
import { type Manifest, reportsLoss } from '../../formats/manifest.ts';
import { beats, type MetricName, metricNames, metricsOf } from '../../graph/choices/metrics.ts';
import type { Evaluation } from '../evaluate/evaluate.ts';
import type { Judged, Progress } from '../runFolder/checkpoint.ts';

/** The metric that decides. Errors: BAD_OPTION for one that the package's loss does not have. */
export function checkedMetric({ loss }: Manifest, metric: MetricName = 'loss'): MetricName {
  const known = metricsOf(loss?.kind).filter((name) => name !== 'loss' || reportsLoss(loss));
  if (metric !== 'loss' && !known.includes(metric))
    throw badOption(
      `--metric ${metric} is not a metric of the loss ${loss?.kind ?? 'of this package'}`,
      `use one of ${[...known].reverse().join(', ')}`,
    );
  return metric;
}

/** The numbers of an evaluation by the names of metrics. */
export function judged(step: number, evaluation: Evaluation): Judged {
  const entries = new Map<string, unknown>(Object.entries(evaluation));
  const found = metricNames.flatMap((name): [MetricName, number][] => {
    const value = entries.get(name);
    return typeof value === 'number' ? [[name, value]] : [];
  });
  return { step, metrics: Object.fromEntries(found) };
}

const valueIn = ({ metrics }: Judged, metric: MetricName): number => metrics[metric] ?? Number.NaN;

/** The progress after an evaluation. */
export function afterEvaluation(progress: Progress, found: Judged, metric: MetricName): Progress {
  const value = valueIn(found, metric);
  const isBetter = (than: Judged | undefined): boolean =>
    Number.isFinite(value) && (than === undefined || beats(metric, value, valueIn(than, metric)));
  const { best, trained, waited } = progress;
  if (found.step === 0) return { ...progress, start: found, best: Number.isFinite(value) ? found : best };
  return {
    ...progress,
    end: found,
    best: isBetter(best) ? found : best,
    trained: isBetter(trained) ? found : trained,
    waited: isBetter(best) ? 0 : waited + 1,
  };
}

/** Whether an evaluation after the start beats the start; null if there is none to compare. */
export function isImproved({ start, trained, end }: Progress, metric: MetricName): boolean | null {
  if (start === undefined || end === undefined) return null;
  return trained !== undefined && beats(metric, valueIn(trained, metric), valueIn(start, metric));
}

/** An evaluation as a result has it. */
export const summarized = (found: Judged | undefined): JudgedEvaluation | undefined =>
  found && { step: found.step, ...found.metrics };

/** The step of an evaluation, and its metrics. */
export interface JudgedEvaluation extends Readonly<Partial<Record<MetricName, number>>> {
  /** Optimizer steps before it; 0: the adapter that the run started from. */
  readonly step: number;
}
