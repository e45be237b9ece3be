import { describe, expect, it } from 'vitest';
import { accuracy, weightedMean } from '../../../src/runtime/evaluate/metrics.ts';
import { coded } from '../../support/coded.ts';

describe('weightedMean', () => {
  it('is the mean over all elements', () => {
    const mean = weightedMean();
    expect(mean.value).toBeNaN();
    mean.add(1, 3);
    mean.add(5, 1);
    mean.add(Number.NaN, 0);
    expect([mean.value, mean.weight]).toEqual([2, 4]);
  });
});

describe('accuracy', () => {
  it('counts over batches, without ignored labels', () => {
    const a = accuracy();
    expect(a.value).toBeNaN();
    a.add(Float32Array.of(0, 2, 1, 3, 1, 2), [2, 3], BigInt64Array.of(1n, 2n));
    a.add([0, 1, 0, 1], [2, 2], [1, -100]);
    expect([a.correct, a.total, a.value]).toEqual([2, 3, 2 / 3]);
  });

  it('knows other class axes and ignore indices', () => {
    // [N 1, C 2, S 3]
    const a = accuracy({ classAxis: 1, ignoreIndex: 0 });
    a.add([9, 1, 5, 0, 4, 7], [1, 2, 3], [0, 1, 1]);
    expect([a.correct, a.total]).toEqual([2, 2]);
  });

  it('shifts for causal models', () => {
    // [N 2, S 3, C 2]: predictions 1 0 0 and 0 1 1
    const logits = [0, 1, 1, 0, 1, 0, 1, 0, 0, 1, 0, 1];
    const a = accuracy({ shift: true });
    a.add(logits, [2, 3, 2], [7, 1, 1, 7, 0, -100]);
    expect([a.correct, a.total]).toEqual([2, 3]);
  });

  it('takes the first of equal logits, and never NaN', () => {
    const a = accuracy();
    a.add([1, 1, Number.NaN, Number.NaN, Number.NaN, -9], [3, 2], [0, 0, 1]);
    expect([a.correct, a.total]).toEqual([2, 3]);
  });

  it('refuses shapes that disagree', () => {
    expect(() => accuracy().add([1, 2], [1, 2], [0, 0])).toThrow(
      expect.toSatisfy(coded('BAD_DATA', '2 labels', '[1, 2]')),
    );
    expect(() => accuracy().add([1], [], [0])).toThrow(expect.toSatisfy(coded('BAD_DATA')));
  });
});
