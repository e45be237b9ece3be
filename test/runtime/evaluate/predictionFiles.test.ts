import { expect, it } from 'vitest';
import type { Manifest } from '../../../src/formats/manifest.ts';
import { elements } from '../../../src/formats/rawTensor.ts';
import type { BatchTensor } from '../../../src/runtime/data/index.ts';
import type { Prediction } from '../../../src/runtime/evaluate/predict.ts';
import { predictionArrays, predictionLines } from '../../../src/runtime/evaluate/predictionFiles.ts';
import { verdicts } from '../../../src/runtime/evaluate/verdict.ts';
import { tinyManifest } from '../../support/tinyManifest.ts';

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

it('adds the class and its probability, or the number', () => {
  const base = tinyManifest();
  const classes = (tensor: string, names?: string[]): Manifest => ({
    ...base,
    labels: { name: 'labels', type: 'int64', shape: ['N'], names },
    loss: base.loss && { ...base.loss, kind: 'cross-entropy', tensor },
  });
  const of = (manifest: Manifest, ...values: readonly number[]) =>
    verdicts(manifest, prediction({ y: floats([values.length], ...values) }))?.(0);
  expect(of(classes('y', ['no', 'yes']), 0, Math.log(3))).toEqual({
    label: 'yes',
    score: expect.closeTo(0.75, 6),
    scores: [expect.closeTo(0.25, 6), expect.closeTo(0.75, 6)],
  });
  // The output is a probability already.
  expect(of(classes('logits'), 0.5, 0.25, 0.25)).toEqual({ label: 0, score: 0.5, scores: [0.5, 0.25, 0.25] });
  expect(of(base, 2.5)).toEqual({ score: 2.5 });
  expect(of(base, 1, 2)).toBeUndefined();
  expect([...predictionLines(prediction({ y: floats([1], 2) }), () => ({ score: 2 }))]).toEqual([
    '{"y":[2],"score":2}',
  ]);
  expect(verdicts(base, prediction({ score: floats([1], 2) }))).toBeUndefined();
});
