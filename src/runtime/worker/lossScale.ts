/** The loss scale of float16 graphs, as updated by the graphs (manifest: optimizer.lossScale). */

import type { Manifest } from '../../formats/manifest.ts';
import type { StepResult, TrainingState } from './protocol.ts';

/**
 * Adds loss scale and skipped steps to a run's results, in the order in which the graphs took the steps; `applied` is
 * false for a batch whose gradient was only accumulated. A non-finite gradient at the least scale is reported
 * unchanged: a smaller scale would not help.
 */
export function withLossScale(
  results: readonly StepResult[],
  applied: readonly boolean[],
  { optimizer }: Manifest,
  { lossScale, step }: TrainingState,
): StepResult[] {
  const rule = optimizer.lossScale;
  if (rule === undefined || lossScale === undefined) return [...results];
  let [scale, taken] = [lossScale, step];
  return results.map((result, i): StepResult => {
    const used = scale;
    if (applied[i] === false) return { ...result, lossScale: used };
    if (Number.isFinite(result.gradNorm)) {
      taken += 1;
      if (taken % rule.growthInterval === 0) scale *= 2;
      return { ...result, lossScale: used };
    }
    scale /= 2;
    return { ...result, lossScale: used, ...(used > rule.least ? { skipped: true } : {}) };
  });
}
