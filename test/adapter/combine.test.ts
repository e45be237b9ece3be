/** Combinations against what PEFT makes of the same adapters (fixtures/peft-combine). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { combine, type PeftLayer, readPeft, type Weighted } from '../../src/adapter/index.ts';
import { toFloat32 } from '../../src/formats/rawTensor.ts';
import { parseSafetensors } from '../../src/formats/safetensors.ts';
import type { Combination } from '../../src/graph/choices/package.ts';
import { factorMatrices } from '../../src/graph/layers.ts';
import { coded } from '../support/coded.ts';

const folder = join(import.meta.dirname, '../../fixtures/peft-combine');
const adapter = (name: string, strength: number): Weighted => ({
  name,
  strength,
  layers: readPeft(join(folder, name)).tensors,
});

const cases: Readonly<Record<string, readonly [Combination | undefined, readonly Weighted[]]>> = {
  'linear-ab': ['linear', [adapter('a', 0.7), adapter('b', -0.3)]],
  'linear-one': ['linear', [adapter('a', 0.4)]],
  'cat-abc': ['cat', [adapter('a', 0.7), adapter('b', 0.3), adapter('c', -1.5)]],
  'cat-ad': ['cat', [adapter('a', 0.5), adapter('d', 0.25)]],
  'linear-da': ['linear', [adapter('d', 0.25), adapter('a', 0.5)]],
};

/** A and B back in PEFT's layout, filled up with zeros to `rank` as PEFT does. */
function peftForm({ A, B, in: inputs, out, rank }: PeftLayer, full: number): { A: number[]; B: number[] } {
  const a = Array.from({ length: full * inputs }, (_, i) => {
    const [k, column] = [Math.floor(i / inputs), i % inputs];
    return k < rank ? (A[column * rank + k] ?? 0) : 0;
  });
  const b = Array.from({ length: out * full }, (_, i) => {
    const [row, k] = [Math.floor(i / full), i % full];
    return k < rank ? (B[k * out + row] ?? 0) : 0;
  });
  return { A: a, B: b };
}

/** scale·A·B as [out, in]. */
function product({ A, B, in: inputs, out, rank, scale }: PeftLayer): number[] {
  return Array.from({ length: out * inputs }, (_, i) => {
    const [o, n] = [Math.floor(i / inputs), i % inputs];
    let sum = 0;
    for (let k = 0; k < rank; k++) sum += (A[n * rank + k] ?? 0) * (B[k * out + o] ?? 0);
    return scale * sum;
  });
}

describe('combinations of PEFT', () => {
  it.each(Object.keys(cases))('%s: the same numbers', (name) => {
    const [kind, adapters] = cases[name] ?? [undefined, []];
    const { tensors } = parseSafetensors(readFileSync(join(folder, `${name}.safetensors`)));
    // The padding is the old content times zero, some of it -0.
    const theirs = (key: string): number[] =>
      [...toFloat32(tensors.get(key) ?? { dtype: 'F32', data: new Uint8Array(0) })].map((x) => x + 0);
    const ours = combine(adapters, kind);
    expect([...ours.keys()]).toEqual(['first', 'second']);
    for (const [path, layer] of ours) {
      const full = tensors.get(`${path}.A`)?.shape[0] ?? 0;
      // To the bit: the factors are rounded where PEFT rounds them.
      expect(peftForm(layer, full)).toEqual({ A: theirs(`${path}.A`), B: theirs(`${path}.B`) });
      expect(layer).toMatchObject({ scale: 1, alpha: layer.rank });
      const [scale = 0] = theirs(`${path}.scale`);
      product(layer).forEach((x, i) => {
        // Sums of at most seven products of numbers near 1 in float32.
        expect(Math.abs(x * scale - (theirs(`${path}.delta`)[i] ?? 0))).toBeLessThan(2e-6);
      });
    }
  });
});

describe('combinations', () => {
  it('are linear where ranks are equal, else cat', () => {
    const ranks = (...adapters: Weighted[]): number[] => [...combine(adapters).values()].map((l) => l.rank);
    expect(ranks(adapter('a', 1), adapter('b', 1))).toEqual([2, 2]);
    expect(ranks(adapter('a', 1), adapter('c', 1))).toEqual([5, 3]);
  });

  it('cat is the sum of the branches', () => {
    const parts = [adapter('a', 0.7), adapter('c', -1.5), adapter('d', 2)];
    for (const [path, layer] of combine(parts, 'cat')) {
      const sum = product(layer).map(() => 0);
      for (const { layers, strength } of parts) {
        const single = layers.get(path);
        if (single !== undefined)
          product(single).forEach((x, i) => {
            sum[i] = (sum[i] ?? 0) + strength * x;
          });
      }
      for (const [i, x] of product(layer).entries()) expect(x).toBeCloseTo(sum[i] ?? Number.NaN, 5);
    }
  });

  it('refuse ranks that differ for linear, shapes that differ, and numbers that are not finite', () => {
    expect(() => combine([adapter('a', 1), adapter('c', 1)], 'linear')).toThrow(
      expect.toSatisfy(coded('ADAPTER_MISMATCH', 'first', 'rank 2 in "a"', 'rank 3 in "c"', '--combination cat')),
    );
    const other = new Map(
      [...adapter('a', 1).layers].map(([path, l]) => [path, { ...l, in: 1, A: new Float32Array(2) }]),
    );
    expect(() => combine([adapter('a', 1), { name: 'x', strength: 1, layers: other }])).toThrow(
      expect.toSatisfy(coded('ADAPTER_MISMATCH', '"x"', '[1, 4]')),
    );
    expect(() => combine([adapter('a', 1e39), adapter('c', 1)], 'cat')).toThrow(
      expect.toSatisfy(coded('MERGE_MISMATCH', 'layer "first"', 'lora_A', 'not finite')),
    );
  });
});

describe('convolutions', () => {
  /** Two layers of window 2 and other ranks; 3 channels in, 2 out. */
  const conv = (rank: number, start: number): PeftLayer => ({
    ...{ form: 'conv', in: 3, out: 2, kernel: [2], rank, alpha: rank, scale: 0.5 },
    A: Float32Array.from({ length: rank * 6 }, (_, i) => start + i),
    B: Float32Array.from({ length: 2 * rank }, (_, i) => start - i),
  });
  const change = (layer: PeftLayer): number[] => {
    const { in: inputs, A, B } = factorMatrices(layer);
    return product({ ...layer, in: inputs, A, B });
  };

  it('cat is the exact sum of the changes', () => {
    const [a, b] = [conv(2, 1), conv(3, -4)];
    const sum = combine(
      [a, b].map((layer, i) => ({ name: String(i), strength: i + 1, layers: new Map([['m', layer]]) })),
    ).get('m');
    if (sum === undefined) throw new Error('no layer');
    expect(sum).toMatchObject({ rank: 5, form: 'conv', kernel: [2] });
    const [ours, first, second] = [change(sum), change(a), change(b)];
    expect(ours).toEqual(first.map((x, i) => x + 2 * (second[i] ?? 0)));
  });

  it('refuses a window that differs', () => {
    const other = { ...conv(2, 1), kernel: [3], A: new Float32Array(18) };
    const both = [conv(2, 1), other].map((layer, i) => ({
      name: String(i),
      strength: 1,
      layers: new Map([['m', layer]]),
    }));
    expect(() => combine(both)).toThrow('[3, 2] with kernel 2 in "0", [3, 2] with kernel 3 in "1"');
  });
});
