import { describe, expect, it } from 'vitest';
import { philox4x32, stream } from '../../src/graph/random.ts';

describe('philox4x32', () => {
  // Known answers of Random123 1.14 (kat_vectors, philox4x32 10).
  it.each([
    [
      [0, 0, 0, 0],
      [0, 0],
      [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ] as const)('gives the published words for counter %j', (counter, key, words) => {
    const block = Uint32Array.from(counter);
    philox4x32(block, key);
    expect([...block]).toEqual(words);
  });
});

describe('stream', () => {
  const take = (n: number, next: () => number) => Array.from({ length: n }, next);

  it('depends on seed and key, and on nothing else', () => {
    const a = take(9, stream(7, 'layer.0').uniform);
    expect(take(9, stream(7, 'layer.0').uniform)).toEqual(a);
    expect(take(9, stream(8, 'layer.0').uniform)).not.toEqual(a);
    expect(take(9, stream(7, 'layer.1').uniform)).not.toEqual(a);
    expect(take(9, stream(7 + 2 ** 32, 'layer.0').uniform)).not.toEqual(a);
    expect(take(9, stream(-7, 'layer.0').uniform)).not.toEqual(a);
  });

  it('never changes: adapters of earlier releases must be reproducible', () => {
    const s = stream(0, 'encoder.layer.0');
    expect([
      s.uniform() * 2 ** 24,
      s.uniform() * 2 ** 24,
      s.normal(),
      s.normal(),
      s.integer(1000),
    ]).toMatchInlineSnapshot(`
      [
        14333739,
        641967,
        0.8743797066510332,
        0.0069540569075879554,
        401,
      ]
    `);
  });

  it('draws multiples of 2^-24 in [0, 1) with the moments of a uniform distribution', () => {
    const values = take(100_000, stream(1, 'u').uniform);
    expect(values.every((v) => v >= 0 && v < 1 && Number.isInteger(v * 2 ** 24) && Math.fround(v) === v)).toBe(true);
    const mean = values.reduce((a, b) => a + b) / values.length;
    expect(Math.abs(mean - 0.5)).toBeLessThan(5 / Math.sqrt(12 * values.length)); // five standard errors
  });

  it('draws normal numbers with mean 0, variance 1, kurtosis 3', () => {
    const n = 100_000;
    const values = take(n, stream(2, 'n').normal);
    const moment = (k: number) => values.reduce((sum, v) => sum + v ** k, 0) / n;
    // five standard errors: sd of z, z^2, z^4 are 1, sqrt 2, sqrt 96
    expect(Math.abs(moment(1))).toBeLessThan(5 / Math.sqrt(n));
    expect(Math.abs(moment(2) - 1)).toBeLessThan(5 * Math.sqrt(2 / n));
    expect(Math.abs(moment(4) - 3)).toBeLessThan(5 * Math.sqrt(96 / n));
  });

  it('draws every integer below the bound equally often', () => {
    const counts = new Array<number>(6).fill(0);
    const s = stream(3, 'i');
    for (let i = 0; i < 60_000; i++) {
      const k = s.integer(6);
      counts[k] = (counts[k] ?? 0) + 1;
    }
    for (const c of counts) expect(Math.abs(c - 10_000)).toBeLessThan(5 * Math.sqrt(10_000));
  });

  it('refuses a seed that is not an integer', () => {
    expect(() => stream(0.5, '')).toThrow(expect.objectContaining({ code: 'BAD_OPTION' }));
    expect(() => stream(Number.NaN, '')).toThrow(expect.objectContaining({ code: 'BAD_OPTION' }));
  });
});
