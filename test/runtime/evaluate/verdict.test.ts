/** Probabilities of outputs that are logits, probabilities, or logarithms of probabilities. */
import { expect, it } from 'vitest';
import type { Prediction } from '../../../src/runtime/evaluate/predict.ts';
import { verdicts } from '../../../src/runtime/evaluate/verdict.ts';
import { tinyManifest } from '../../support/tinyManifest.ts';

const probabilities = [
  [0.25, 0.625, 0.125],
  [0.5, 0.125, 0.375],
];
const labels = { name: 'labels', type: 'int64', shape: ['N'], names: ['red', 'green', 'blue'] };

/** The verdicts on rows of the output y; the loss is attached to `tensor`. */
function found(rows: readonly (readonly number[])[], tensor: string): unknown[] {
  const prediction: Prediction = {
    ...{ outputs: ['y'], leftOut: [], rows: rows.length },
    row: (i) => ({ y: { type: 'float32', dims: [3], data: Float32Array.from(rows[i] ?? []) } }),
  };
  const loss = {
    output: 'y',
    tensor,
    chosen: '',
    ignoreIndex: -100,
    labelSmoothing: 0,
    kind: 'cross-entropy',
  } as const;
  const of = verdicts({ ...tinyManifest(), labels, loss }, prediction);
  return rows.map((_, i) => of?.(i));
}

it.each([
  ['logits', (x: number) => Math.log(x) + 7, 'y'],
  ['probabilities before which the loss is', (x: number) => x, 'logits'],
  ['probabilities that the loss is on', (x: number) => x, 'y'],
  ['logarithms of probabilities', Math.log, 'logits'],
] as const)('%s', (_, of, tensor) => {
  const rows = probabilities.map((row) => row.map(of));
  expect(found(rows, tensor)).toEqual(
    probabilities.map((row, i) => ({
      label: ['green', 'red'][i],
      score: expect.closeTo(Math.max(...row), 6),
      scores: row.map((x) => expect.closeTo(x, 6)),
    })),
  );
});
