import { describe, expect, it } from 'vitest';
import { learningRateSchedule, type ScheduleKind, warmupSteps } from '../../../src/runtime/train/learningRate.ts';
import { coded } from '../../support/coded.ts';

const rates = (kind: ScheduleKind, totalSteps: number, warmup: number, steps = totalSteps) => {
  const rate = learningRateSchedule({ kind, learningRate: 2, totalSteps, warmup });
  return Array.from({ length: steps }, (_, step) => rate(step));
};

describe('learningRateSchedule', () => {
  it('constant', () => {
    expect(rates('constant', 4, 0)).toEqual([2, 2, 2, 2]);
    expect(rates('constant', 4, 2)).toEqual([0, 1, 2, 2]);
  });

  it('linear, to zero at the end and no further', () => {
    expect(rates('linear', 4, 0, 6)).toEqual([2, 1.5, 1, 0.5, 0, 0]);
    expect(rates('linear', 6, 2)).toEqual([0, 1, 2, 1.5, 1, 0.5]);
  });

  it('cosine, half a period', () => {
    const c = (x: number) => 1 + Math.cos(Math.PI * x);
    expect(rates('cosine', 4, 0)).toEqual([2, c(1 / 4), c(2 / 4), c(3 / 4)]);
    expect(rates('cosine', 6, 2, 7)).toEqual([0, 1, 2, c(1 / 4), c(2 / 4), c(3 / 4), 0]);
  });

  it('survives a warm-up longer than the run, and a run of one step', () => {
    expect(rates('linear', 2, 4)).toEqual([0, 0.5]);
    expect(rates('cosine', 1, 0)).toEqual([2]);
    expect(rates('cosine', 1, 0.5)).toEqual([0]);
  });

  it('refuses learning rates that are none', () => {
    for (const learningRate of [-1, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => learningRateSchedule({ kind: 'linear', learningRate, totalSteps: 1 })).toThrow(
        expect.toSatisfy(coded('BAD_OPTION', String(learningRate))),
      );
    }
  });
});

describe('warmupSteps', () => {
  it('is a share below 1, rounded up, and steps from 1 on', () => {
    expect([0, 0.01, 0.1, 0.25, 0.999].map((w) => warmupSteps(w, 10))).toEqual([0, 1, 1, 3, 10]);
    expect([1, 2, 500].map((w) => warmupSteps(w, 10))).toEqual([1, 2, 500]);
  });

  it('refuses the rest', () => {
    for (const warmup of [-0.1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => warmupSteps(warmup, 10)).toThrow(expect.toSatisfy(coded('BAD_OPTION', String(warmup))));
    }
  });
});
