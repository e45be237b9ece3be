/** Packages whose training graphs have lengths fixed: what a partial batch and a short row come to beside those of open lengths. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { encodeModel } from '../../../src/emit/index.ts';
import { type CompileOptions, compile, type FitOptions, type TrainEvent, Trainer, train } from '../../../src/index.ts';
import { parseText } from '../../../src/parser/index.ts';
import { coded } from '../../support/coded.ts';
import { temporaryFolder } from '../../support/temporaryFolder.ts';

const folder = temporaryFolder();
const weights = [
  'float[3,2] w = {0.5, -1, 1, 0.25, -0.5, 2}',
  'float[5,3] table = {0.1, -0.2, 0.3, 0.4, 0.5, -0.6, 0.7, -0.8, 0.9, -1.0, 1.1, 0.2, 0.3, 0.2, 0.1}',
  'float[3,5] head = {0.4, -0.2, 0.3, 0.1, 0.5, -0.6, 0.7, -0.8, 0.2, 0.3, 0.9, -0.4, 0.2, 0.6, -0.1}',
].join(', ');
let packages = 0;

async function packageOf(signature: string, nodes: string, options: CompileOptions): Promise<string> {
  const at = join(folder, String(packages++));
  mkdirSync(at);
  const file = join(at, 'model.onnx');
  const text = `<ir_version: 8, opset_import: ["": 17]> g ${signature} <${weights}> {${nodes}}`;
  writeFileSync(file, encodeModel(parseText(text)));
  // Plain descent, so that what a step changes is its gradient.
  const plain: CompileOptions = { rank: 2, optimizer: 'sgd', momentum: 0, maxGradNorm: 0, init: 'kaiming-rank' };
  return (await compile(file, { out: join(at, 'model.lora'), ...plain, ...options })).dir;
}

/** Losses, gradient norms and the parameters after a few epochs. */
async function trained(dir: string, rows: readonly object[], options: FitOptions) {
  const trainer = await Trainer.open(dir, { threads: 1 });
  try {
    const numbers: number[] = [];
    for await (const { loss, gradNorm, examples } of trainer.fit(rows, { learningRate: 0.05, epochs: 2, ...options }))
      numbers.push(Number.isNaN(loss) ? -1 : loss, gradNorm, examples);
    numbers.push(...(await trainer.getState()).params);
    return { numbers, evaluation: await trainer.evaluate(rows, { batchSize: 3 }) };
  } finally {
    await trainer.close();
  }
}

const tokens = [[1, 4, 2], [3], [2, 2, 0, 1], [4, 1], [0, 3, 1, 1], [1, 2]].map((input_ids) => ({ input_ids }));
const points = [1, 2, 3, 4, 5, 6, 7].map((k) => ({ x: [Math.sin(k), 0.3 * k, -1 / k] }));
const wide = (labels: (k: number) => unknown): object[] => points.map((row, k) => ({ ...row, labels: labels(k) }));

const lines = '(float[N,3] x) => (float[N,2] y)';
const product = 'y = MatMul(x, w)';
const language = '(int64[N,S] input_ids) => (float[N,S,5] logits)';
const decoder = 'e = Gather(table, input_ids) c = CumSum(e, axis) logits = MatMul(c, head)';

/** Seven rows in batches of four, six in batches of four: the last batch is not full. */
const cases: readonly [string, string, string, CompileOptions, readonly object[]][] = [
  ['cross-entropy', lines, product, { loss: 'cross-entropy', labelSmoothing: 0.1 }, wide((k) => k % 2)],
  ['mse', lines, product, { loss: 'mse' }, wide((k) => [k, -k])],
  ['l1', lines, product, { loss: 'l1' }, wide((k) => [k, -k])],
  ['huber', lines, product, { loss: 'huber' }, wide((k) => [k, -k])],
  ['bce', lines, product, { loss: 'bce' }, wide((k) => [k % 2, 1])],
  ['external', lines, product, { loss: 'external' }, points.map((row, k) => ({ ...row, d_y: [k, -1] }))],
  ['causal-lm', language, `axis = Constant<value_int=1>() ${decoder}`, { seq: 6, target: ['head'] }, tokens],
];

describe('the last batch of an epoch, filled up', () => {
  it.each(cases)(
    '%s: loss, gradient and parameters of the rows that are there',
    async (kind, signature, nodes, options, rows) => {
      const { seq: _, ...open } = options;
      const dirs = [
        await packageOf(signature, nodes, open),
        await packageOf(signature, nodes, { ...options, batch: 4 }),
      ];
      const ways: FitOptions[] = [{}, { gradAccum: 3 }, { gradAccum: 2, stepsPerRun: 4 }, { stepsPerRun: 4 }];
      for (const way of kind === 'mse' || kind === 'causal-lm' ? ways : ways.slice(-1)) {
        const [a, b] = [
          await trained(dirs[0] ?? '', rows, { batchSize: 4, ...way }),
          await trained(dirs[1] ?? '', rows, way),
        ];
        expect(b.numbers.length).toBe(a.numbers.length);
        // Sums of float32 in another order.
        for (const [i, x] of a.numbers.entries()) expect(b.numbers[i]).toBeCloseTo(x, 5);
        expect(b.evaluation).toMatchObject({ examples: rows.length, weight: a.evaluation.weight });
      }
    },
  );
});

it('rows that the model computes from one another are not filled up: the rest is left out, and that is said', async () => {
  const nodes = 'm = ReduceMean<axes=[0]>(x) c = Sub(x, m) y = MatMul(c, w)';
  const dir = await packageOf(lines, nodes, { loss: 'mse', batch: 4 });
  const rows = wide((k) => [k, -k]);
  const events: TrainEvent[] = [];
  const data = join(folder, 'rows.jsonl');
  writeFileSync(data, rows.map((r) => `${JSON.stringify(r)}\n`).join(''));
  const { steps } = await train(dir, {
    data,
    out: join(folder, 'left.run'),
    epochs: 2,
    onEvent: (e) => events.push(e),
  });
  expect(steps).toBe(2);
  const notices = events.flatMap((e) => (e.kind === 'notice' ? [e.text] : []));
  expect(notices).toEqual([
    'each epoch leaves out 3 of 7 rows: batches have 4, and batches cannot be padded: "m" (ReduceMean) reduces over the batch',
  ]);
});

it('short float rows: what is filled up does not count', async () => {
  const signature = '(float[N,S,3] x) => (float[N,S,2] y)';
  const dir = await packageOf(signature, product, { loss: 'mse', batch: 2, seq: 4 });
  const row = (length: number): object => ({
    x: points.slice(0, length).map((p) => p.x),
    labels: Array.from({ length }, (_, k) => [k, 1]),
  });
  const alone = await packageOf(signature, product, { loss: 'mse' });
  const short = await trained(dir, [row(2)], { epochs: 1 });
  const exact = await trained(alone, [row(2)], { epochs: 1 });
  for (const [i, x] of exact.numbers.entries()) expect(short.numbers[i]).toBeCloseTo(x, 5);
});

describe('what does not fit', () => {
  it('is refused: a longer row by its number, another batch size', async () => {
    const dir = await packageOf(language, `axis = Constant<value_int=1>() ${decoder}`, {
      batch: 2,
      seq: 3,
      target: ['head'],
    });
    const trainer = await Trainer.open(dir, { threads: 1 });
    await expect(trainer.prepareFit(tokens)).rejects.toSatisfy(
      coded('BAD_DATA', 'row 2: "input_ids" has 4 entries, but the package is compiled for 3'),
    );
    await expect(trainer.prepareFit(tokens, { maxLength: 3, batchSize: 4 })).rejects.toSatisfy(
      coded('BAD_OPTION', 'compiled for batches of 2 rows (--batch), not of 4'),
    );
    const losses: number[] = [];
    for (const maxLength of [3, 2]) {
      for await (const step of trainer.fit(tokens, { maxLength, steps: 1, learningRate: 0, shuffle: false }))
        losses.push(step.loss);
    }
    // Of the first row three tokens, or two: what is cut is not in the loss.
    const [three, two] = losses;
    expect(three).not.toBeCloseTo(two ?? 0, 3);
    // Evaluation and prediction take rows as they are.
    expect(await trainer.evaluate(tokens, { batchSize: 5 })).toMatchObject({ examples: 6, weight: 10 });
    expect((await trainer.predict(tokens)).row(4).logits?.dims).toEqual([4, 5]);
    await trainer.close();
  });
});

it('the manifest says what is fixed, and how the model leaves it', async () => {
  const dir = await packageOf(lines, product, { loss: 'mse', batch: 4, for: 'cpu' });
  const trainer = await Trainer.open(dir);
  expect(trainer.manifest).toMatchObject({
    for: 'cpu',
    fixed: { batch: 4 },
    inputs: [{ name: 'x', shape: [4, 3], open: ['N', 3] }],
    labels: { shape: [4, 2], open: ['N', 2] },
  });
  await trainer.close();
});
