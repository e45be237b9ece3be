/** The lines of log.jsonl, which are drawn as well. */

import type { Evaluation } from '../evaluate/evaluate.ts';
import type { Log } from '../runFolder/log.ts';
import type { LossPlot } from '../runFolder/lossPlot.ts';
import type { Step } from './runPlan.ts';

/** A log whose lines are drawn, too. */
export interface PlottedLog extends Log {
  readonly plot: LossPlot;
}

export const plotted = (log: Log, plot: LossPlot): PlottedLog => ({
  ...log,
  plot,
  write: (entry) => {
    log.write(entry);
    plot.add(entry);
  },
});

/** A step as a line of log.jsonl. */
export function logLine(step: Step): object {
  const { gradNorm, examplesPerSecond, lossScale, examples: _, ...rest } = step;
  const scale = lossScale === undefined ? {} : { loss_scale: lossScale };
  return { ...rest, grad_norm: gradNorm, ...scale, examples_per_second: Number(examplesPerSecond.toPrecision(6)) };
}

/** An evaluation as a line of log.jsonl. */
export function evaluationLine(step: number, { loss, ...rest }: Evaluation): object {
  return { step, eval_loss: loss, ...rest };
}
