import { describe, expect, it } from 'vitest';
import { type BatchOrder, batchOrder, permutation } from '../../../src/runtime/data/order.ts';
import { coded } from '../../support/coded.ts';

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

describe('rows grouped by length', () => {
  // 997 rows in batches of 4: five chunks of 200 rows, and a partial batch of one row.
  const lengths = Uint32Array.from({ length: 997 }, (_, i) => (i * 7919) % 512);
  const options = { rows: 997, batchSize: 4, seed: 3, lengths };
  const padding = (order: BatchOrder): number => {
    let sum = 0;
    for (let i = 0; i < order.batchesPerEpoch; i++) {
      const own = [...order.batch(i)].map((row) => lengths[row] ?? 0);
      sum += own.reduce((n, length) => n + Math.max(...own) - length, 0);
    }
    return sum;
  };

  it('has every row once per epoch, the partial batch last, and little padding', () => {
    const order = batchOrder(options);
    const all = Array.from({ length: 250 }, (_, i) => [...order.batch(i)]);
    expect(all.flat().sort((a, b) => a - b)).toEqual(Array.from({ length: 997 }, (_, i) => i));
    expect(all.map((b) => b.length)).toEqual([...new Array<number>(249).fill(4), 1]);
    expect(padding(order)).toBeLessThan(padding(batchOrder({ ...options, lengths: undefined })) / 20);
  });

  it('is a function of seed and epoch alone: a resumed run asks for the batches in any order', () => {
    const order = batchOrder(options);
    const again = batchOrder(options);
    for (const i of [700, 3, 251, 3, 0]) expect(again.batch(i)).toEqual(order.batch(i));
    expect(order.batch(0)).not.toEqual(order.batch(250));
    expect(batchOrder({ ...options, seed: 4 }).batch(0)).not.toEqual(order.batch(0));
  });

  it('has long and short batches in no order', () => {
    const order = batchOrder(options);
    const firsts = Array.from({ length: 40 }, (_, i) => lengths[order.batch(i)[0] ?? 0] ?? 0);
    const rises = firsts.filter((length, i) => i > 0 && length > (firsts[i - 1] ?? 0)).length;
    expect(rises).toBeGreaterThan(10);
    expect(rises).toBeLessThan(30);
  });

  it('needs shuffled rows', () => {
    expect(() => batchOrder({ ...options, shuffle: false })).toThrow(
      expect.toSatisfy(coded('BAD_OPTION', '--group-by-length')),
    );
  });
});
