import { expect, it } from 'vitest';
import { trainingPlan } from '../../../src/runtime/train/plan.ts';
import { longestRun, type RunLengthOptions, runLength } from '../../../src/runtime/train/runLength.ts';

const plan = (steps: number, rows = 8 * 4096) =>
  trainingPlan({
    rows,
    batchSize: 8,
    fixedBatch: false,
    steps,
    learningRate: 1,
    schedule: 'constant',
    warmup: 0,
    shuffle: false,
    seed: 0,
    gradAccum: 1,
  });
const never = () => false;
const every =
  (...periods: readonly number[]) =>
  (done: number) =>
    periods.some((p) => done % p === 0);
const length = (options: Partial<RunLengthOptions> & Pick<RunLengthOptions, 'plan'>): number =>
  runLength({ from: 0, boundary: never, bytesPerStep: 1000, ...options });

it.each([
  ['a run without boundaries', { plan: plan(4096) }, longestRun],
  ['a run that is shorter than the longest', { plan: plan(5) }, 5],
  ['a run that comes out even in two', { plan: plan(18) }, 9],
  ['checkpoints that a run divides', { plan: plan(960), boundary: every(48) }, 16],
  ['checkpoints that no long run divides', { plan: plan(900), boundary: every(9) }, 9],
  ['checkpoints where even runs are short', { plan: plan(1020), boundary: every(34) }, 12],
  ['evaluations and checkpoints', { plan: plan(1000), boundary: every(20, 50) }, 10],
  ['a state that is asked for after each step', { plan: plan(100), boundary: every(1) }, 1],
  ['a resumed run: 10 steps are left', { plan: plan(110), from: 100 }, 10],
  // 9 full batches, then 4 rows: an epoch is a run of nine and one of one.
  ['a batch at the end of the epoch that is smaller', { plan: plan(100, 76) }, 9],
  ['batches of 20 MiB', { plan: plan(4096), bytesPerStep: 20 * 2 ** 20 }, 3],
  ['batches of 100 MiB', { plan: plan(4096), bytesPerStep: 100 * 2 ** 20 }, 1],
])('%s', (_, options, expected) => {
  expect(length(options)).toBe(expected);
});
