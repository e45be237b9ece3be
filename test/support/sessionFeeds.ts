/** Inputs for a model that is only asked to compute the same thing twice. */
import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { Tensor } from 'onnxruntime-node';

/** Seeded numbers in [0, 1): mulberry32. */
export function random(seed: number): () => number {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One tensor per input; symbolic dims have the length that `sizes` says, else 1. */
export function feedsFor(
  session: InferenceSession,
  sizes: Readonly<Record<string, number>> = {},
  seed = 1,
): Record<string, OrtTensor> {
  const next = random(seed);
  const feeds: Record<string, OrtTensor> = {};
  for (const input of session.inputMetadata) {
    if (!input.isTensor) throw new Error(`input ${input.name} is no tensor`);
    const dims = input.shape.map((d) => (typeof d === 'number' && d >= 0 ? d : (sizes[String(d)] ?? 1)));
    const n = dims.reduce((a, b) => a * b, 1);
    const values = Array.from({ length: n }, next);
    feeds[input.name] = make(input.type, dims, values);
  }
  return feeds;
}

function make(type: string, dims: readonly number[], values: readonly number[]): OrtTensor {
  switch (type) {
    case 'float32':
      return new Tensor('float32', Float32Array.from(values), dims);
    case 'float16':
      // Bit patterns of numbers between 1 and 2.
      return new Tensor(
        'float16',
        Uint16Array.from(values, (v) => 0x3c00 + Math.floor(v * 1024)),
        dims,
      );
    case 'float64':
      return new Tensor('float64', Float64Array.from(values), dims);
    case 'int64':
      return new Tensor(
        'int64',
        BigInt64Array.from(values, (v) => BigInt(Math.floor(v * 2))),
        dims,
      );
    case 'int32':
      return new Tensor(
        'int32',
        Int32Array.from(values, (v) => Math.floor(v * 2)),
        dims,
      );
    case 'uint8':
      return new Tensor(
        'uint8',
        Uint8Array.from(values, (v) => Math.floor(v * 256)),
        dims,
      );
    case 'bool':
      return new Tensor(
        'bool',
        Uint8Array.from(values, (v) => Math.round(v)),
        dims,
      );
    default:
      throw new Error(`no inputs of type ${type}`);
  }
}
