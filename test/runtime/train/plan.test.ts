import { expect, it } from 'vitest';
import { type PlanOptions, trainingPlan } from '../../../src/runtime/train/plan.ts';
import { coded } from '../../support/coded.ts';

const options: PlanOptions = {
  rows: 10,
  batchSize: 3,
  fixedBatch: false,
  learningRate: 1,
  schedule: 'linear',
  warmup: 2,
  shuffle: true,
  seed: 7,
  gradAccum: 1,
};

it('takes every row once per epoch, the partial batch included', () => {
  const plan = trainingPlan({ ...options, epochs: 2 });
  expect(plan).toMatchObject({ totalSteps: 8, stepsPerEpoch: 4 });
  for (const epoch of [0, 1]) {
    const rows = [0, 1, 2, 3].flatMap((i) => plan.at(epoch * 4 + i).batches.flatMap((b) => [...b.rows]));
    expect(rows.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  }
  expect(plan.at(0).batches).not.toEqual(plan.at(4).batches);
  expect([0, 1, 2, 7].map((step) => plan.at(step).lr)).toEqual([0, 0.5, 1, 1 / 6]);
});

it('says the same of a step whoever asks, and different mask seeds for each batch', () => {
  const a = trainingPlan({ ...options, steps: 20 });
  const b = trainingPlan({ ...options, steps: 20 });
  expect(b.at(13)).toEqual(a.at(13));
  const seeds = Array.from({ length: 20 }, (_, step) => a.at(step).batches[0]?.seed);
  expect(new Set(seeds).size).toBe(20);
});

it('gathers batches within an epoch: the last step of an epoch has the rest', () => {
  const plan = trainingPlan({ ...options, gradAccum: 3, epochs: 2 });
  expect(plan).toMatchObject({ totalSteps: 4, stepsPerEpoch: 2 });
  expect([0, 1, 2, 3].map((step) => plan.at(step).batches.length)).toEqual([3, 1, 3, 1]);
  expect(plan.at(2).epoch).toBe(1);
});

it('leaves the rest of an epoch out where the batch size is fixed', () => {
  const plan = trainingPlan({ ...options, fixedBatch: true, epochs: 2 });
  expect(plan).toMatchObject({ totalSteps: 6, stepsPerEpoch: 3 });
  for (let step = 0; step < 6; step++) expect(plan.at(step).batches[0]?.rows.length).toBe(3);
  expect(plan.at(3).epoch).toBe(1);
  expect(() => trainingPlan({ ...options, fixedBatch: true, rows: 2 })).toThrow(
    expect.toSatisfy(coded('BAD_OPTION', 'fixed to 3')),
  );
});

it.each([
  [{ steps: 0 }, '--steps'],
  [{ steps: 1.5 }, '--steps'],
  [{ epochs: 0 }, '--epochs'],
  [{ gradAccum: 0 }, '--grad-accum'],
  [{ batchSize: 0 }, 'batch size'],
  [{ learningRate: Number.NaN }, 'learning rate'],
])('refuses %o', (change, word) => {
  expect(() => trainingPlan({ ...options, ...change })).toThrow(expect.toSatisfy(coded('BAD_OPTION', word)));
});
