/** What graphs are fed in tests, by name. */
import { Tensor } from 'onnxruntime-node';
import type { Value } from '../../src/graph/model.ts';
import { stream } from '../../src/graph/random.ts';
import { numberToHalf } from '../../src/graph/tensor.ts';

export type Feeds = Record<string, Tensor>;

const lengths: Record<string, number> = { N: 3, S: 5, T: 4, K: 2 };

/** Seeded inputs of a graph's types; symbols and unknown lengths get small numbers. */
export function randomFeeds(inputs: readonly Value[], integers = 3): Feeds {
  const random = stream(7, 'golden');
  return Object.fromEntries(
    inputs
      .filter((v) => v.tensor === undefined)
      .map((v) => {
        const dims = (v.shape ?? []).map((d) => (typeof d === 'number' ? d : (lengths[d ?? ''] ?? 2)));
        const size = dims.reduce((n, d) => n * d, 1);
        if (v.dtype === 'int64')
          return [
            v.name,
            new Tensor(
              'int64',
              BigInt64Array.from({ length: size }, () => BigInt(random.integer(integers))),
              dims,
            ),
          ];
        if (v.dtype === 'int32')
          return [
            v.name,
            new Tensor(
              'int32',
              Int32Array.from({ length: size }, () => random.integer(2 ** 31)),
              dims,
            ),
          ];
        if (v.dtype === 'bool') return [v.name, new Tensor('bool', new Uint8Array(size).fill(1), dims)];
        const values = Float32Array.from({ length: size }, () => random.normal());
        if (v.dtype === 'float16') return [v.name, new Tensor('float16', Uint16Array.from(values, numberToHalf), dims)];
        if (v.dtype === 'float64') return [v.name, new Tensor('float64', Float64Array.from(values), dims)];
        return [v.name, new Tensor('float32', values, dims)];
      }),
  );
}

/** The same batch as two steps of a Scan. */
export function twice(t: Tensor): Tensor {
  const dims = [2, ...t.dims];
  if (t.data instanceof BigInt64Array) return new Tensor('int64', BigInt64Array.from([...t.data, ...t.data]), dims);
  if (t.data instanceof Int32Array) return new Tensor('int32', Int32Array.from([...t.data, ...t.data]), dims);
  if (t.data instanceof Uint8Array) return new Tensor('bool', Uint8Array.from([...t.data, ...t.data]), dims);
  if (t.data instanceof Uint16Array) return new Tensor('float16', Uint16Array.from([...t.data, ...t.data]), dims);
  if (t.data instanceof Float64Array) return new Tensor('float64', Float64Array.from([...t.data, ...t.data]), dims);
  if (t.data instanceof Float32Array) return new Tensor('float32', Float32Array.from([...t.data, ...t.data]), dims);
  throw new Error(`no two of ${t.type}`);
}
