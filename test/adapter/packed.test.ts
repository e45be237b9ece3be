/** A packed module and its parts: the branch x·A·B is the same, side by side. */
import { describe, expect, it } from 'vitest';
import { type PeftLayer, packedLayers, unpackedLayers } from '../../src/adapter/index.ts';

const inputs = 3;
const known = [
  { path: 'model.mlp.gate_proj', op: 'MatMul', in: inputs, out: 4 },
  { path: 'model.mlp.up_proj', op: 'MatMul', in: inputs, out: 4 },
];
const values = (count: number, seed: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(i + seed));

function layer(rank: number, out: number, seed: number, more: Partial<PeftLayer> = {}): PeftLayer {
  const [A, B] = [values(inputs * rank, seed), values(rank * out, seed + 50)];
  return { form: 'linear', in: inputs, out, rank, alpha: 2 * rank, scale: 2, A, B, ...more };
}

/** scale · x·A·B of a row x. */
function branch({ rank, out, scale, A, B }: PeftLayer, x: readonly number[]): number[] {
  const xa = Array.from({ length: rank }, (_, r) => x.reduce((sum, xi, i) => sum + xi * (A[i * rank + r] ?? 0), 0));
  return Array.from({ length: out }, (_, o) => scale * xa.reduce((sum, v, r) => sum + v * (B[r * out + o] ?? 0), 0));
}

const x = [0.3, -0.7, 1.1];
const packed = 'model.mlp.gate_up_proj';
const [gate = known[0], up = known[1]] = known;

describe('packed modules', () => {
  it('are their parts where the model has those, and come back as they were', () => {
    const whole = layer(2, 8, 1, { magnitude: values(8, 9), module: `base.${packed}` });
    const parts = unpackedLayers(new Map([[`base.${packed}`, whole]]), known);
    const [a, b] = ['base.model.mlp.gate_proj', 'base.model.mlp.up_proj'].map((path) => parts.get(path));
    if (a === undefined || b === undefined) throw new Error('no parts');
    expect([...branch(a, x), ...branch(b, x)]).toEqual(branch(whole, x));
    const named = new Map([gate?.path ?? '', up?.path ?? ''].map((path, i) => [path, [a, b][i] ?? a]));
    expect(packedLayers(named, [packed]).get(packed)).toEqual(whole);
  });

  it('add ranks where the parts have factors, ranks and scales of their own', () => {
    const parts = new Map([
      ['model.mlp.gate_proj', layer(2, 4, 1)],
      ['model.mlp.up_proj', layer(3, 4, 2, { alpha: 3, scale: 1 })],
    ]);
    const made = packedLayers(parts, [packed]);
    expect([...made.keys()]).toEqual([packed]);
    const whole = made.get(packed) ?? layer(1, 1, 0);
    expect([whole.rank, whole.alpha, whole.scale, whole.out]).toEqual([5, 10, 2, 8]);
    const wanted = [...parts.values()].flatMap((part) => branch(part, x));
    for (const [i, y] of branch(whole, x).entries()) expect(y).toBeCloseTo(wanted[i] ?? Number.NaN, 5);
  });

  it('stay as they are where the model has them, has no parts, or parts of other widths', () => {
    const given = new Map([[packed, layer(2, 8, 1)]]);
    for (const those of [[...known, { path: packed, op: 'MatMul', in: inputs, out: 8 }], [], known.slice(0, 1)])
      expect([...unpackedLayers(given, those).keys()]).toEqual([packed]);
    const narrow = known.map((k) => ({ ...k, out: 3 }));
    expect([...unpackedLayers(given, narrow).keys()]).toEqual([packed]);
    const half = new Map([['model.mlp.gate_proj', layer(2, 4, 1)]]);
    expect([...packedLayers(half, [packed]).keys()]).toEqual(['model.mlp.gate_proj']);
  });
});
