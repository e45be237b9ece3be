import { describe, expect, it } from 'vitest';
import { batchOrder, permutation } from '../../../src/runtime/data/order.ts';
import { coded } from '../../temporary.ts';

describe('permutation', () => {
  it('has every row once, another order per seed and epoch, the same one again for the same arguments', () => {
    const a = permutation(100, 0, 0);
    expect([...a].sort((x, y) => x - y)).toEqual(Array.from({ length: 100 }, (_, i) => i));
    expect(permutation(100, 0, 0)).toEqual(a);
    expect(permutation(100, 0, 1)).not.toEqual(a);
    expect(permutation(100, 1, 0)).not.toEqual(a);
  });

  it('never changes: runs of earlier releases must resume', () => {
    expect([...permutation(8, 0, 0)]).toMatchInlineSnapshot(`
      [
        2,
        6,
        5,
        7,
        0,
        1,
        4,
        3,
      ]
    `);
  });

  it('puts each row in each place equally often', () => {
    const first = new Array<number>(5).fill(0);
    for (let epoch = 0; epoch < 5000; epoch++) {
      const row = permutation(5, 1, epoch)[0] ?? 0;
      first[row] = (first[row] ?? 0) + 1;
    }
    // five standard deviations of a binomial count with n = 5000, p = 1/5
    for (const n of first) expect(Math.abs(n - 1000)).toBeLessThan(5 * Math.sqrt(5000 * 0.2 * 0.8));
  });
});

describe('batchOrder', () => {
  it('keeps the last partial batch and goes on into the next epoch', () => {
    const order = batchOrder({ rows: 7, batchSize: 3, seed: 0 });
    expect(order.batchesPerEpoch).toBe(3);
    const epoch = [0, 1, 2].flatMap((i) => [...order.batch(i)]);
    expect(epoch).toEqual([...permutation(7, 0, 0)]);
    expect(order.batch(2).length).toBe(1);
    expect([...order.batch(3)]).toEqual([...permutation(7, 0, 1).slice(0, 3)]);
    expect([...order.batch(1)]).toEqual(epoch.slice(3, 6)); // any step, in any order
  });

  it('keeps the order of the file without shuffling', () => {
    const order = batchOrder({ rows: 3, batchSize: 2, seed: 0, shuffle: false });
    expect([0, 1, 2].map((i) => [...order.batch(i)])).toEqual([[0, 1], [2], [0, 1]]);
  });

  it('refuses sizes that make no batches', () => {
    const bad = expect.toSatisfy(coded('BAD_OPTION'));
    for (const batchSize of [0, 1.5, Number.NaN])
      expect(() => batchOrder({ rows: 3, batchSize, seed: 0 })).toThrow(bad);
    expect(() => batchOrder({ rows: 0, batchSize: 1, seed: 0 })).toThrow(bad);
  });
});
