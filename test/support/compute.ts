/** Runs models on ONNX Runtime to compare what they compute. */
import type { Tensor as OrtTensor } from 'onnxruntime-node';
import ort from 'onnxruntime-node';
import { expect } from 'vitest';
import { encodeModel } from '../../src/emit/index.ts';
import type { Model } from '../../src/graph/model.ts';
import { feedsFor } from './sessionFeeds.ts';

export type Outputs = ReadonlyMap<string, OrtTensor>;

export interface RunOptions {
  /** Lengths of symbolic dims, 1 by default. */
  readonly sizes?: Readonly<Record<string, number>>;
  readonly seed?: number;
  /** Inputs that must not be random. */
  readonly feeds?: Readonly<Record<string, OrtTensor>>;
}

// Without optimization the kernels are those that the graph names.
const options = { logSeverityLevel: 3, graphOptimizationLevel: 'disabled', intraOpNumThreads: 1 } as const;

/** All outputs of a model, or of a file. */
export async function compute(model: Model | string, { sizes, seed, feeds }: RunOptions = {}): Promise<Outputs> {
  const session =
    typeof model === 'string'
      ? await ort.InferenceSession.create(model, options)
      : await ort.InferenceSession.create(encodeModel(model), options);
  try {
    const results = await session.run({ ...feedsFor(session, sizes, seed), ...feeds });
    return new Map(session.outputNames.flatMap((name) => (results[name] === undefined ? [] : [[name, results[name]]])));
  } finally {
    await session.release();
  }
}

/** Same names, types, shapes and bytes; floats within `tolerance`, as the norm of the difference over the norm. */
export function expectSame(after: Outputs, before: Outputs, tolerance = 0): void {
  expect([...after.keys()]).toEqual([...before.keys()]);
  for (const [name, want] of before) {
    const got = after.get(name);
    expect({ name, type: got?.type, dims: got?.dims }).toEqual({ name, type: want.type, dims: want.dims });
    if (tolerance === 0 || want.type !== 'float32')
      expect({ name, data: got?.data }).toEqual({ name, data: want.data });
    else expect(distance(numbers(got), numbers(want)), name).toBeLessThanOrEqual(tolerance);
  }
}

const numbers = (t: OrtTensor | undefined): number[] => [...(t?.data ?? [])].map(Number);

/** Infinities and NaN have to stand at the same places; the norms are those of the rest. */
function distance(a: readonly number[], b: readonly number[]): number {
  const norm = (xs: readonly number[]): number => Math.sqrt(xs.reduce((sum, x) => sum + x * x, 0));
  const d = norm(a.map((x, i) => (Object.is(x, b[i]) ? 0 : x - (b[i] ?? Number.NaN))));
  return d === 0 ? 0 : d / norm(b.filter(Number.isFinite));
}
