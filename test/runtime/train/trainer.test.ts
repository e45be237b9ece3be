import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { compile, type FitOptions, type Step, Trainer } from '../../../src/index.ts';
import { coded } from '../../support/coded.ts';
import { compileDigits, digits } from '../../support/digits.ts';
import { temporaryFolder } from '../../support/temporaryFolder.ts';

const folder = temporaryFolder();
const rows = digits(0, 100);
let dir = '';
beforeAll(async () => {
  dir = await compileDigits(folder);
});

interface Outcome {
  readonly steps: readonly Step[];
  readonly params: Float32Array;
}

async function trained(options: FitOptions, at = dir): Promise<Outcome> {
  const trainer = await Trainer.open(at, { threads: 1 });
  try {
    const steps: Step[] = [];
    for await (const step of trainer.fit(rows, { batchSize: 16, learningRate: 0.01, ...options })) steps.push(step);
    const { params, step } = await trainer.getState();
    expect(step).toBe(steps.length);
    return { steps, params };
  } finally {
    await trainer.close();
  }
}

const losses = ({ steps }: Outcome): number[] => steps.map((s) => s.loss);

describe('fit', () => {
  it('trains: the loss falls, steps are counted, the event loop goes on', async () => {
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    const { steps } = await trained({ epochs: 6, schedule: 'cosine' });
    clearInterval(timer);
    expect(steps).toHaveLength(6 * 7);
    expect(steps.at(-1)).toMatchObject({ step: 42, epoch: 6, examples: 4 });
    expect(steps.at(-1)?.loss).toBeLessThan((steps[0]?.loss ?? 0) / 4);
    expect(ticks).toBeGreaterThan(5);
  });

  // 100 rows make a partial batch of 4 in each epoch, which cannot be stacked with the others.
  it('gives the same bits with one step per run and with several', async () => {
    const single = await trained({ steps: 17 });
    const several = await trained({ steps: 17, stepsPerRun: 4 });
    expect(losses(several)).toEqual(losses(single));
    expect(several.params).toEqual(single.params);
  });

  it('gives the same bits for gathered gradients through the halves and through the Scan', async () => {
    const halves = await trained({ steps: 9, gradAccum: 3 });
    const scan = await trained({ steps: 9, gradAccum: 3, stepsPerRun: 2 });
    expect(scan.params).toEqual(halves.params);
    expect(losses(scan)).toEqual(losses(halves));
  });

  it('weights gathered batches exactly: three of 16, 16 and 8 rows step as one of 40 does', async () => {
    const options = { shuffle: false, steps: 1, learningRate: 0.01 };
    const trainer = await Trainer.open(dir);
    const forty = rows.slice(0, 40);
    const first = await trainer.getState();
    for await (const _ of trainer.fit(forty, { ...options, batchSize: 16, gradAccum: 3 }));
    const gathered = await trainer.getState();
    await trainer.setState(first);
    for await (const _ of trainer.fit(forty, { ...options, batchSize: 40 }));
    const whole = await trainer.getState();
    await trainer.close();
    // The first moment is a tenth of the gradient; float32 sums in another order.
    for (let i = 0; i < whole.m.length; i++) expect(gathered.m[i]).toBeCloseTo(whole.m[i] ?? 0, 6);
  });

  it('changes nothing with a learning rate of 0', async () => {
    const trainer = await Trainer.open(dir);
    const { params } = await trainer.getState();
    for await (const _ of trainer.fit(rows, { steps: 3, learningRate: 0 }));
    expect((await trainer.getState()).params).toEqual(params);
    await trainer.close();
  });

  it.each([{}, { stepsPerRun: 8 }, { gradAccum: 2 }])('stops at numbers that are not finite, %o', async (how) => {
    const trainer = await Trainer.open(dir);
    const taken: Step[] = [];
    const run = async (): Promise<void> => {
      for await (const step of trainer.fit(rows, { steps: 30, learningRate: 1e30, ...how })) taken.push(step);
    };
    await expect(run()).rejects.toSatisfy(coded('NON_FINITE', `at step ${taken.length + 2}`, '1e+30'));
    const state = await trainer.getState();
    expect(state.step).toBe(taken.length);
    expect(state.params.every(Number.isFinite)).toBe(true);
    await trainer.close();
  });

  it('can be left early', async () => {
    const trainer = await Trainer.open(dir);
    for await (const step of trainer.fit(rows, { epochs: 5 })) if (step.step === 3) break;
    expect((await trainer.getState()).step).toBe(3);
    await trainer.close();
  });

  it('says what is wrong with data and options', async () => {
    const trainer = await Trainer.open(dir);
    const first = (data: readonly object[], options: FitOptions = {}) =>
      trainer
        .fit(
          data.map((r) => ({ ...r })),
          options,
        )
        .next();
    await expect(first([{ image: [1, 2], labels: 1 }])).rejects.toSatisfy(coded('BAD_DATA', 'row 0', '[64]'));
    await expect(first([{ image: new Array(64).fill(0) }])).rejects.toSatisfy(coded('BAD_DATA', 'labels'));
    await expect(first([])).rejects.toSatisfy(coded('BAD_DATA', 'no rows'));
    await expect(first(rows, { batchSize: 0 })).rejects.toSatisfy(coded('BAD_OPTION', 'batch size'));
    await expect(first(rows, { stepsPerRun: 0 })).rejects.toSatisfy(coded('BAD_OPTION', 'steps per run'));
    await expect(first([{ image: new Array(64).fill(0), labels: 99 }])).rejects.toSatisfy(
      coded('BAD_DATA', 'row 0', '99 is out of range'),
    );
    await trainer.close();
  });

  it('takes typed arrays', async () => {
    const trainer = await Trainer.open(dir);
    const typed = rows.map(({ image, labels }) => ({ image: Float32Array.from(image), labels }));
    const { value } = await trainer.fit(typed, { shuffle: false }).next();
    expect(value?.loss).toBeGreaterThan(1);
    await trainer.close();
  });
});

describe('packages with some of the graphs', () => {
  it.each([
    [['train_k', 'eval'], 1],
    [['grad', 'update', 'eval'], 2],
  ] as const)('%o suffice', async (emit, gradAccum) => {
    const other = await compileDigits(join(folder, emit.join('-')), { emit: [...emit] });
    const { params } = await trained({ steps: 5, gradAccum }, other);
    expect(params).toEqual((await trained({ steps: 5, gradAccum })).params);
  });

  it('says which is missing', async () => {
    const { dir: at } = await compile(join(import.meta.dirname, '../../../fixtures/demo/digits.onnx'), {
      out: join(folder, 'model.lora'),
      emit: ['model', 'train'],
    });
    const trainer = await Trainer.open(at);
    await expect(trainer.evaluate(rows)).rejects.toSatisfy(coded('BAD_PACKAGE', 'eval'));
    await expect(trainer.fit(rows, { gradAccum: 2 }).next()).rejects.toSatisfy(coded('BAD_PACKAGE', '--emit all'));
    await trainer.close();
  });
});

describe('evaluate and predict', () => {
  it('is the same whatever the batch size', async () => {
    const trainer = await Trainer.open(dir);
    const whole = await trainer.evaluate(rows, { batchSize: 100 });
    const parts = await trainer.evaluate(rows, { batchSize: 7 });
    expect(whole).toMatchObject({ weight: 100, examples: 100 });
    expect(parts.accuracy).toBe(whole.accuracy);
    // Float32 losses of batches, combined in float64.
    expect(parts.loss).toBeCloseTo(whole.loss, 5);
    await trainer.close();
  });

  it('predicts without labels, and accuracy agrees with the predictions', async () => {
    const trainer = await Trainer.open(dir);
    const prediction = await trainer.predict(
      rows.map(({ image }) => ({ image })),
      { batchSize: 9 },
    );
    expect(prediction).toMatchObject({ outputs: ['logits'], leftOut: [], rows: 100 });
    const hits = rows.filter(({ labels }, i) => {
      const values = Array.from(prediction.row(i).logits?.data ?? [], Number);
      return values.indexOf(Math.max(...values)) === labels;
    });
    expect((await trainer.evaluate(rows)).accuracy).toBe(hits.length / 100);
    await trainer.close();
  });
});

it('saves what it opens again', async () => {
  const trainer = await Trainer.open(dir);
  for await (const _ of trainer.fit(rows, { steps: 5, learningRate: 0.01 }));
  const at = join(folder, 'saved');
  await trainer.save(at);
  const { params } = await trainer.getState();
  await trainer.close();
  const again = await Trainer.open(dir, { adapter: at });
  expect((await again.getState()).params).toEqual(params);
  await again.close();
  expect(JSON.parse(readFileSync(join(at, 'adapter_config.json'), 'utf8'))).toMatchObject({ r: 4, peft_type: 'LORA' });
});

describe('opening', () => {
  it('refuses providers that do not start, and takes the next of the list', async () => {
    await expect(Trainer.open(dir, { executionProvider: 'dml' })).rejects.toSatisfy(coded('PROVIDER_MISSING', 'dml'));
    await expect(Trainer.open(dir, { executionProvider: 'gpu' })).rejects.toSatisfy(coded('BAD_OPTION', '"gpu"'));
    const trainer = await Trainer.open(dir, { executionProvider: ['dml', 'cpu'] });
    expect(trainer.provider).toBe('cpu');
    expect(trainer.passedOver.map((p) => p.name)).toEqual(['dml']);
    await trainer.close();
  });

  it('refuses what is no package and adapters that do not fit', async () => {
    await expect(Trainer.open(folder)).rejects.toSatisfy(coded('BAD_PACKAGE', folder));
    const other = await compileDigits(join(folder, 'rank2'), { rank: 2 });
    await expect(Trainer.open(dir, { adapter: join(other, 'adapter') })).rejects.toSatisfy(
      coded('ADAPTER_MISMATCH', 'rank'),
    );
    await expect(Trainer.open(dir, { threads: 0 })).rejects.toSatisfy(coded('BAD_OPTION', 'threads'));
  });

  it('fails calls after it is closed', async () => {
    const trainer = await Trainer.open(dir);
    await trainer.close();
    await expect(trainer.getState()).rejects.toSatisfy(coded('RUNTIME_FAILED', 'closed'));
  });
});
