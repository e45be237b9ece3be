/**
 * The rows and the learning rate of each optimizer step: a pure function of the options and the step, so that a resumed
 * run continues exactly where it was interrupted.
 */

import { badOption } from '../../errors.ts';
import { stream } from '../../graph/random.ts';
import { batchOrder } from '../data/index.ts';
import { learningRateSchedule, type ScheduleKind } from './learningRate.ts';

export interface PlanOptions {
  readonly rows: number;
  readonly batchSize: number;
  /** The graphs fix the batch size: the last, partial batch of an epoch is then left out. */
  readonly fixedBatch: boolean;
  /** Optimizer steps of the whole run; takes precedence over epochs. */
  readonly steps?: number | undefined;
  /** Default 1; fractions are allowed. */
  readonly epochs?: number | undefined;
  readonly learningRate: number;
  readonly schedule: ScheduleKind;
  readonly warmup: number;
  readonly shuffle: boolean;
  /** The lengths of the rows, to make batches of rows of similar lengths. */
  readonly lengths?: ArrayLike<number> | undefined;
  readonly seed: number;
  /** Batches per optimizer step; the last step of an epoch has fewer if they do not divide evenly. */
  readonly gradAccum: number;
}

/** One batch: its rows, and the seed of its dropout mask. */
export interface MicroBatch {
  readonly rows: Uint32Array;
  readonly seed: number;
}

export interface StepPlan {
  readonly lr: number;
  /** The epoch, counted from 0. */
  readonly epoch: number;
  readonly batches: readonly MicroBatch[];
}

export interface Plan {
  readonly totalSteps: number;
  readonly stepsPerEpoch: number;
  /** Step 0, 1, ... */
  at(step: number): StepPlan;
}

/** Errors: BAD_OPTION for numbers out of range, or fewer rows than a fixed batch. */
export function trainingPlan(options: PlanOptions): Plan {
  const { rows, batchSize, gradAccum, fixedBatch, seed } = options;
  const order = batchOrder({ rows, batchSize, seed, shuffle: options.shuffle, lengths: options.lengths });
  const perEpoch = fixedBatch ? Math.floor(rows / batchSize) : order.batchesPerEpoch;
  if (perEpoch === 0)
    throw badOption(`the model's batch size is fixed to ${batchSize}, but there are only ${rows} rows`);
  if (!Number.isSafeInteger(gradAccum) || gradAccum < 1) {
    throw badOption(`--grad-accum must be a positive integer, not ${gradAccum}`);
  }
  const stepsPerEpoch = Math.ceil(perEpoch / gradAccum);
  const totalSteps = stepsOf(options, stepsPerEpoch);
  const { learningRate, schedule: kind, warmup } = options;
  const lr = learningRateSchedule({ kind, learningRate, warmup, totalSteps });
  return {
    totalSteps,
    stepsPerEpoch,
    at(step) {
      const epoch = Math.floor(step / stepsPerEpoch);
      const first = (step % stepsPerEpoch) * gradAccum;
      const count = Math.min(gradAccum, perEpoch - first);
      const batches = Array.from({ length: count }, (_, i) => ({
        rows: order.batch(epoch * order.batchesPerEpoch + first + i),
        seed: stream(seed, `dropout/${epoch * perEpoch + first + i}`).integer(2 ** 31),
      }));
      return { lr: lr(step), epoch, batches };
    },
  };
}

function stepsOf({ steps, epochs = 1 }: PlanOptions, stepsPerEpoch: number): number {
  if (steps !== undefined) {
    if (!Number.isSafeInteger(steps) || steps < 1) throw badOption(`--steps must be a positive integer, not ${steps}`);
    return steps;
  }
  if (!Number.isFinite(epochs) || epochs <= 0) throw badOption(`--epochs must be a positive number, not ${epochs}`);
  return Math.ceil(epochs * stepsPerEpoch);
}
