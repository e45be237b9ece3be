/** Values by hand, from the definitions of scikit-learn; those of regression are the examples of its documentation. */

import { describe, expect, it } from 'vitest';
import { binary, regression } from '../../../src/runtime/evaluate/elementMetrics.ts';
import { classCounts } from '../../../src/runtime/evaluate/metrics.ts';

describe('classCounts', () => {
  it('has the mean F1 of the classes that are labels or predictions', () => {
    const counts = classCounts();
    expect(counts.f1).toBeNaN();
    const labels = [0, 1, 2, 2, 0];
    for (const [i, predicted] of [0, 2, 2, 2, 1].entries()) counts.add(predicted, labels[i] ?? 0);
    expect(counts.correct / counts.total).toBe(3 / 5);
    expect(counts.f1).toBeCloseTo((2 / 3 + 0 + 4 / 5) / 3, 14);
    // A label without a prediction (all scores NaN) is a miss, and no class of its own.
    counts.add(-1, 0);
    expect(counts.f1).toBeCloseTo((2 / 4 + 0 + 4 / 5) / 3, 14);
  });
});

describe('regression', () => {
  it('has the mean absolute error and R2, over batches', () => {
    const sums = regression(1);
    sums.add([2.5, 0], [3, -0.5]);
    expect(sums.result().mae).toBe(0.5);
    sums.add([2, 8], [2, 7]);
    expect(sums.result().mae).toBe(0.5);
    expect(sums.result().r2).toBeCloseTo(1 - 1.5 / 29.1875, 14);
  });

  it('takes the mean of the columns', () => {
    const sums = regression(2);
    sums.add([0, 2, -1, 2], [0.5, 1, -1, 1]);
    sums.add([8, -5], [7, -6]);
    const [first, second] = [1 - 1.25 / (217 / 6), 1 - 3 / (98 / 3)];
    expect(sums.result().mae).toBe(0.75);
    expect(sums.result().r2).toBeCloseTo((first + second) / 2, 14);
  });

  it('knows constant labels, single rows and large offsets', () => {
    const of = (values: number[], labels: number[]) => {
      const sums = regression(1);
      sums.add(values, labels);
      return sums.result().r2;
    };
    expect(of([2, 2], [2, 2])).toBe(1);
    expect(of([2, 3], [2, 2])).toBe(0);
    expect(of([1], [2])).toBeNaN();
    expect(of([Number.NaN, 1], [1, 2])).toBeNaN();
    expect(of([1e9 + 1, 1e9 + 2], [1e9 + 1, 1e9 + 3])).toBeCloseTo(0.5, 12);
  });
});

describe('binary', () => {
  it('has accuracy and the F1 of the label 1', () => {
    for (const [threshold, values] of [
      [0, [2, 1, -1, 3]],
      [0.5, [0.9, 0.8, 0.1, 0.7]],
    ] as const) {
      const sums = binary(1, threshold);
      sums.add(values.slice(0, 3), [1, 0, 1]);
      sums.add(values.slice(3), [1]);
      expect(sums.result()).toEqual({ accuracy: 1 / 2, f1: 4 / 6 });
    }
  });

  it('counts rows that are right in all columns, and the mean F1 of the columns', () => {
    const sums = binary(2, 0);
    sums.add([1, -1, -1, 1, -1, -1], [1, 0, 1, 1, 0, 0]);
    expect(sums.result()).toEqual({ accuracy: 2 / 3, f1: (2 / 3 + 1) / 2 });
  });

  it('has F1 0 where there is nothing to find, and NaN without rows', () => {
    const sums = binary(1, 0);
    expect(sums.result()).toEqual({ accuracy: Number.NaN, f1: Number.NaN });
    sums.add([-1, -2], [0, 0]);
    expect(sums.result()).toEqual({ accuracy: 1, f1: 0 });
  });
});
