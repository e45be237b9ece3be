/**
 * Learning rates over the steps of a run, equal to transformers' get_constant_schedule_with_warmup,
 * get_linear_schedule_with_warmup and get_cosine_schedule_with_warmup (transformers/optimization.py).
 */

import { badOption } from '../../errors.ts';
import type { ScheduleKind } from '../../graph/choices/package.ts';

export type { ScheduleKind };

export interface ScheduleOptions {
  readonly kind: ScheduleKind;
  /** The peak. */
  readonly learningRate: number;
  /** Optimizer steps of the whole run. */
  readonly totalSteps: number;
  /** A share or a number of steps; see warmupSteps. Default 0. */
  readonly warmup?: number | undefined;
}

/**
 * The number of warm-up steps: below 1 a share of the run, rounded up; from 1 on a number of steps. So 1 is one step,
 * as in transformers. Errors: BAD_OPTION for negative numbers and for fractions above 1.
 */
export function warmupSteps(warmup: number, totalSteps: number): number {
  if (!(warmup >= 0) || (warmup > 1 && !Number.isSafeInteger(warmup))) {
    throw badOption(`the warm-up must be a share below 1 or a whole number of steps, not ${warmup}`);
  }
  return warmup < 1 ? Math.ceil(warmup * totalSteps) : warmup;
}

/**
 * The learning rate of optimizer step 0, 1, ... as float64; 0 at step 0 if there is a warm-up. Errors: BAD_OPTION for a
 * learning rate that is negative or not finite, and those of warmupSteps.
 */
export function learningRateSchedule(options: ScheduleOptions): (step: number) => number {
  const { kind, learningRate, totalSteps } = options;
  if (!Number.isFinite(learningRate) || learningRate < 0) {
    throw badOption(`the learning rate must be a finite number from 0, not ${learningRate}`);
  }
  const warmup = warmupSteps(options.warmup ?? 0, totalSteps);
  return (step) => learningRate * factor(kind, step, warmup, totalSteps);
}

function factor(kind: ScheduleKind, step: number, warmup: number, total: number): number {
  return step < warmup ? step / Math.max(1, warmup) : decays[kind](step, warmup, total);
}

const decays = {
  constant: () => 1,
  linear: (step, warmup, total) => Math.max(0, (total - step) / Math.max(1, total - warmup)),
  cosine: (step, warmup, total) => {
    const progress = (step - warmup) / Math.max(1, total - warmup);
    return Math.max(0, 0.5 * (1 + Math.cos(Math.PI * progress)));
  },
} satisfies Record<ScheduleKind, (step: number, warmup: number, total: number) => number>;
