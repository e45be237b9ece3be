import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { encodeModel } from '../../../src/emit/index.ts';
import { compile, type FitOptions, Trainer } from '../../../src/index.ts';
import { parseText } from '../../../src/parser/index.ts';
import { temporaryFolder } from '../../support/temporaryFolder.ts';

const folder = temporaryFolder();
const weight = 'float[3,2] w = {0.5, -1, 1, 0.25, -0.5, 2}';
let packages = 0;

/** A package of a model given by its signature and its nodes. */
async function open(signature: string, nodes: string, options: Parameters<typeof compile>[1] = {}): Promise<Trainer> {
  const at = join(folder, String(packages++));
  mkdirSync(at);
  const file = join(at, 'model.onnx');
  writeFileSync(
    file,
    encodeModel(parseText(`<ir_version: 8, opset_import: ["": 17]> g ${signature} <${weight}> {${nodes}}`)),
  );
  const { dir } = await compile(file, { out: join(at, 'model.lora'), rank: 2, ...options });
  return Trainer.open(dir);
}

async function losses(trainer: Trainer, rows: readonly object[], options: FitOptions): Promise<number[]> {
  const found: number[] = [];
  for await (const { loss } of trainer.fit(rows, options)) found.push(loss);
  return found;
}

it('accuracy of a model that gives the class itself', async () => {
  const trainer = await open(
    '(float[N,3] x) => (int64[N] class)',
    'y = MatMul(x, w) class = ArgMax<axis=1, keepdims=0>(y)',
  );
  // x·w is [0.5, -1], [1, 0.25], [-0.5, 2]: classes 0, 0, 1.
  const rows = [
    { x: [1, 0, 0], labels: 0 },
    { x: [0, 1, 0], labels: 1 },
    { x: [0, 0, 1], labels: 1 },
    { x: [0, 0, 1], labels: -100 },
  ];
  expect(trainer.manifest.loss?.kind).toBe('cross-entropy');
  expect(await trainer.evaluate(rows)).toMatchObject({
    accuracy: 2 / 3,
    f1: expect.any(Number),
    weight: 3,
    examples: 4,
  });
  expect((await trainer.predict(rows)).row(2).class).toMatchObject({ dims: [], data: BigInt64Array.of(1n) });
  await trainer.close();
});

it('mse: means over elements; the errors and R2 of evaluation', async () => {
  const trainer = await open('(float[N,3] x) => (float[N,2] y)', 'y = MatMul(x, w)', { loss: 'mse' });
  const rows = [
    { x: [1, 0, 0], labels: [0.5, 0] },
    { x: [0, 1, 0], labels: [1, 2.25] },
  ];
  // Errors 0, 1, 0, 2.
  const { r2, ...rest } = await trainer.evaluate(rows);
  expect(rest).toEqual({ loss: 1.25, weight: 4, examples: 2, mae: 0.75 });
  // By hand: 1 for the first column, 1 - 5 / 2.53125 for the second.
  expect(r2).toBeCloseTo((2 - 5 / 2.53125) / 2, 12);
  const found = await losses(trainer, rows, { steps: 200, learningRate: 0.05, gradAccum: 2, batchSize: 1 });
  expect(found[0]).toBe(1.25);
  expect(found.at(-1)).toBeLessThan(0.01);
  await trainer.close();
});

it.each([
  ['logits', 'y = MatMul(x, w)'],
  ['probabilities', 'z = MatMul(x, w) y = Sigmoid(z)'],
])('bce: accuracy and F1 of %s', async (_, nodes) => {
  const trainer = await open('(float[N,3] x) => (float[N,2] y)', nodes, { loss: 'bce' });
  // The first row of w is 0.5 and -1: the predictions are 1 0, 0 1 and 1 0.
  const rows = [
    { x: [1, 0, 0], labels: [1, 0] },
    { x: [-1, 0, 0], labels: [1, 1] },
    { x: [0.1, 0, 0], labels: [0, 0] },
  ];
  expect(await trainer.evaluate(rows, { batchSize: 2 })).toMatchObject({ accuracy: 1 / 3, f1: (1 / 2 + 1) / 2 });
  await trainer.close();
});

it('output: the model computes its own loss and takes no labels', async () => {
  const nodes = 'y = MatMul(x, w) d = Sub(y, t) e = Mul(d, d) loss = ReduceMean<keepdims=0>(e)';
  const trainer = await open('(float[N,3] x, float[N,2] t) => (float loss)', nodes);
  expect(trainer.manifest).toMatchObject({ loss: { kind: 'output' } });
  expect(trainer.manifest.labels).toBeUndefined();
  const rows = [{ x: [1, 0, 0], t: [0, 0] }];
  const found = await losses(trainer, rows, { steps: 50, learningRate: 0.05 });
  expect(found[0]).toBe(0.625);
  expect(found.at(-1)).toBeLessThan(0.1);
  expect((await trainer.evaluate(rows)).loss).toBeLessThan(0.1);
  await trainer.close();
});

it('external: the rows bring d loss / d output', async () => {
  const trainer = await open('(float[N,3] x) => (float[N,2] y)', 'y = MatMul(x, w)', { loss: 'external' });
  const rows = [{ x: [1, 0, 0], d_y: [1, -1] }];
  expect(await losses(trainer, rows, { steps: 40, learningRate: 0.05, stepsPerRun: 3 })).toEqual(
    new Array(40).fill(Number.NaN),
  );
  const y = (await trainer.predict(rows)).row(0).y?.data ?? [];
  // The first output went down, the second up, from 0.5 and -1.
  expect(Number(y[0])).toBeLessThan(0);
  expect(Number(y[1])).toBeGreaterThan(-0.5);
  await trainer.close();
});

it('a fixed batch: training takes whole batches, prediction fills the last one up', async () => {
  const trainer = await open('(float[2,3] x) => (float[2,2] y)', 'y = MatMul(x, w)', { loss: 'mse' });
  const rows = [1, 2, 3].map((k) => ({ x: [k, 0, 0], labels: [0, 0] }));
  const sizes: number[] = [];
  for await (const { examples } of trainer.fit(rows, { epochs: 3 })) sizes.push(examples);
  expect(sizes).toEqual([2, 2, 2]);
  const prediction = await trainer.predict(rows);
  expect(prediction.rows).toBe(3);
  const [a, b, c] = [0, 1, 2].map((i) => Number(prediction.row(i).y?.data[0]));
  expect(b).toBeCloseTo(2 * (a ?? 0), 5);
  expect(c).toBeCloseTo(3 * (a ?? 0), 5);
  await expect(trainer.evaluate(rows, { batchSize: 3 })).rejects.toThrow('fixes the batch size of "x" to 2');
  await trainer.close();
});

it('rows of unequal length: outputs keep the length of their row', async () => {
  const trainer = await open('(float[N,S,3] x) => (float[N,S,2] logits)', 'logits = MatMul(x, w)');
  const rows = [1, 3, 3, 2].map((length) => ({
    x: new Array(length).fill([1, 0, 0]),
    labels: new Array(length).fill(0),
  }));
  expect(await trainer.evaluate(rows, { batchSize: 4 })).toMatchObject({ weight: 9, accuracy: 1 });
  const prediction = await trainer.predict(rows, { batchSize: 4 });
  expect([0, 1, 2, 3].map((i) => prediction.row(i).logits?.dims)).toEqual([
    [1, 2],
    [3, 2],
    [3, 2],
    [2, 2],
  ]);
  await trainer.close();
});

it('sgd has no second moment', async () => {
  const trainer = await open('(float[N,3] x) => (float[N,2] y)', 'y = MatMul(x, w)', { loss: 'mse', optimizer: 'sgd' });
  const rows = [{ x: [1, 0, 0], labels: [0, 0] }];
  const found = await losses(trainer, rows, { steps: 60, learningRate: 0.1 });
  expect(found.at(-1)).toBeLessThan(0.01);
  expect((await trainer.getState()).v).toBeUndefined();
  await trainer.close();
});
