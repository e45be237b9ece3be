import { expect, it } from 'vitest';
import { elements } from '../../../src/formats/rawTensor.ts';
import type { BatchTensor } from '../../../src/runtime/data/index.ts';
import type { Prediction } from '../../../src/runtime/evaluate/predict.ts';
import { predictionArrays, predictionLines } from '../../../src/runtime/evaluate/predictionFiles.ts';

const prediction = (...rows: readonly Readonly<Record<string, BatchTensor>>[]): Prediction => ({
  outputs: Object.keys(rows[0] ?? {}),
  leftOut: [],
  rows: rows.length,
  row: (i) => rows[i] ?? {},
});
const floats = (dims: readonly number[], ...values: readonly number[]): BatchTensor => ({
  type: 'float32',
  dims,
  data: Float32Array.from(values),
});

it('fills rows that are shorter than the longest', () => {
  const [y, k] = predictionArrays(
    prediction(
      { y: floats([1, 2], 1, 2), k: { type: 'int64', dims: [1], data: BigInt64Array.of(7n) } },
      { y: floats([3, 1], 3, 4, 5), k: { type: 'int64', dims: [2], data: BigInt64Array.of(8n, 9n) } },
    ),
  );
  expect(y?.[1].shape).toEqual([2, 3, 2]);
  const nan = Number.NaN;
  expect(y && [...elements(y[1])]).toEqual([1, 2, nan, nan, nan, nan, 3, nan, 4, nan, 5, nan]);
  expect(k?.[1]).toMatchObject({ dtype: 'I64', shape: [2, 2] });
  expect(k && [...elements(k[1])]).toEqual([7n, 0n, 8n, 9n]);
});

it('prints the shortest text that reads back as the same float32, and exact integers', () => {
  const big = 2n ** 60n + 1n;
  const lines = predictionLines(
    prediction({
      y: floats([2, 2], 0.1, Number.NaN, 1 / 3, -2),
      s: floats([], 5),
      k: { type: 'int64', dims: [1], data: BigInt64Array.of(big) },
      b: { type: 'bool', dims: [2], data: Uint8Array.of(1, 0) },
      h: { type: 'float16', dims: [1], data: Uint16Array.of(0x3e00) },
      e: floats([0]),
    }),
  );
  expect([...lines]).toEqual([
    `{"y":[[0.1,null],[0.33333334,-2]],"s":5,"k":[${big}],"b":[true,false],"h":[1.5],"e":[]}`,
  ]);
});
