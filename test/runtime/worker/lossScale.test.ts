/** The loss scale of a float16 package, through the trainer: steps that overflow, growth, its floor, and runs that were cut. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { encodeModel } from '../../../src/emit/index.ts';
import {
  compile,
  type FitOptions,
  type Step,
  type TrainEvent,
  Trainer,
  type TrainOptions,
  train,
} from '../../../src/index.ts';
import { parseText } from '../../../src/parser/index.ts';
import { coded } from '../../support/coded.ts';
import { writeJsonl } from '../../support/digits.ts';
import { temporaryFolder } from '../../support/temporaryFolder.ts';

const folder = temporaryFolder();
const at = (...parts: readonly string[]): string => join(folder, ...parts);

// Weights of 1/2 (14336). The gradient stands in float16 between the two layers; of rank 3, because ONNX Runtime's CPU provider
// would take both casts away around a product, which it runs in float32, but not around the Reshape to rows.
const text = `<ir_version: 8, opset_import: ["" : 17]>
main (float16[N,1,2] x) => (float16[N,1,2] y)
<float16[2,2] v = {14336, 14336, 14336, 47104}, float16[2,2] w = {14336, 47104, 14336, 14336}>
{
  [first] h = MatMul (x, v)
  [second] y = MatMul (h, w)
}`;

interface Row {
  readonly x: readonly number[][];
  readonly labels: readonly number[][];
}
const row = (label: number, i: number): Row => ({ x: [[1 + (i % 3), (i % 2) - 1]], labels: [[label, -label]] });
/** d loss / d y is near 30, so at scale 65536 it is beyond float16's 65504, and at 1024 it is not. */
const rows = Array.from({ length: 8 }, (_, i) => row(30 + i, i));

let dir = '';
beforeAll(async () => {
  writeFileSync(at('half.onnx'), encodeModel(parseText(text)));
  ({ dir } = await compile(at('half.onnx'), { out: at('half.lora'), rank: 2, loss: 'mse' }));
});

async function opened<T>(use: (trainer: Awaited<ReturnType<typeof Trainer.open>>) => Promise<T>): Promise<T> {
  const trainer = await Trainer.open(dir, { threads: 1 });
  try {
    return await use(trainer);
  } finally {
    await trainer.close();
  }
}

const fitted = (options: FitOptions): Promise<{ steps: Step[]; state: object }> =>
  opened(async (trainer) => {
    const steps: Step[] = [];
    for await (const step of trainer.fit(rows, { batchSize: 1, shuffle: false, learningRate: 0.01, ...options }))
      steps.push(step);
    return { steps, state: await trainer.getState() };
  });

describe('the loss scale', () => {
  it('halves where the gradient is beyond float16, which takes no step', async () => {
    const { steps, state } = await fitted({ steps: 12 });
    const skipped = steps.filter((s) => s.skipped === true);
    expect(skipped.length).toBeGreaterThan(2);
    // All at the start; each halves.
    expect(skipped.map((s) => s.step)).toEqual(skipped.map((_, i) => i + 1));
    expect(skipped.map((s) => s.lossScale)).toEqual(skipped.map((_, i) => 65536 / 2 ** i));
    expect(state).toMatchObject({ step: 12 - skipped.length, lossScale: 65536 / 2 ** skipped.length });
    expect(steps.every((s) => Number.isFinite(s.loss) && Number.isFinite(s.gradNorm) === (s.skipped !== true))).toBe(
      true,
    );
  });

  it('does not change the gradient', async () => {
    const normAt = (lossScale: number): Promise<number | undefined> =>
      opened(async (trainer) => {
        await trainer.setState({ ...(await trainer.getState()), lossScale });
        for await (const step of trainer.fit(rows, { batchSize: 8, steps: 1 })) return step.gradNorm;
        return undefined;
      });
    const [small, large] = [await normAt(1), await normAt(512)];
    // Powers of two; only what underflows could differ, and nothing here does.
    expect(large).toBe(small);
  });

  it('moves alike in single steps, in the Scan, and through the halves', async () => {
    const single = await fitted({ steps: 12 });
    const scan = await fitted({ steps: 12, stepsPerRun: 5 });
    expect(scan.state).toEqual(single.state);
    const of = ({ steps }: { steps: Step[] }): object[] => steps.map((s) => ({ ...s, examplesPerSecond: 0 }));
    expect(of(scan)).toEqual(of(single));
    const gathered = await fitted({ steps: 12, gradAccum: 2 });
    const gatheredScan = await fitted({ steps: 12, gradAccum: 2, stepsPerRun: 3 });
    expect(gatheredScan.state).toEqual(gathered.state);
    expect(of(gatheredScan)).toEqual(of(gathered));
    expect(gathered.steps.some((s) => s.skipped === true)).toBe(true);
  });

  it('doubles with every 2000th step taken', () =>
    opened(async (trainer) => {
      await trainer.setState({ ...(await trainer.getState()), step: 3998, lossScale: 64 });
      const scales: (number | undefined)[] = [];
      for await (const step of trainer.fit(rows, { steps: 4, stepsPerRun: 4 })) scales.push(step.lossScale);
      expect(scales).toEqual([64, 64, 128, 128]);
      expect(await trainer.getState()).toMatchObject({ step: 4002, lossScale: 128 });
    }));

  it.each([{}, { stepsPerRun: 20 }, { gradAccum: 2 }])('is an error at 1, and only there, %o', (how) =>
    opened(async (trainer) => {
      const far = Array.from({ length: 4 }, (_, i) => row(1e6, i));
      const taken: Step[] = [];
      const run = async (): Promise<void> => {
        for await (const step of trainer.fit(far, { batchSize: 1, steps: 30, ...how })) taken.push(step);
      };
      await expect(run()).rejects.toSatisfy(coded('NON_FINITE', 'at step 17 ', 'loss scale 1)'));
      expect(taken.map((s) => s.lossScale)).toEqual(Array.from({ length: 16 }, (_, i) => 65536 / 2 ** i));
      expect(await trainer.getState()).toMatchObject({ step: 0, lossScale: 1 });
    }),
  );
});

describe('a float16 run', () => {
  const options = (out: string): TrainOptions => ({
    data: writeJsonl(at('rows.jsonl'), rows),
    out: at(out),
    steps: 14,
    batchSize: 2,
    learningRate: 0.01,
    threads: 1,
  });
  const log = (out: string): Record<string, unknown>[] =>
    readFileSync(at(out, 'log.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => ({ ...JSON.parse(line), examples_per_second: 0 }));

  it('says which steps were skipped, and goes on to the bit where it was cut', async () => {
    const notices: string[] = [];
    const told = (event: TrainEvent): void => void (event.kind === 'notice' && notices.push(event.text));
    await train(dir, { ...options('whole'), onEvent: told });
    const skipped = log('whole').filter((line) => line.skipped === true);
    expect(skipped.length).toBeGreaterThan(0);
    expect(notices).toHaveLength(skipped.length);
    expect(notices[0]).toContain('step 1 was skipped');
    expect(log('whole').map((line) => line.loss_scale)[0]).toBe(65536);

    // Cut while steps are still being skipped.
    const stop = new AbortController();
    const onEvent = (event: TrainEvent): void => {
      if (event.kind === 'step' && event.step.step === 2) stop.abort();
    };
    await train(dir, { ...options('cut'), signal: stop.signal, onEvent });
    await train(dir, { ...options('cut'), resume: true });
    expect(log('cut')).toEqual(log('whole'));
    for (const file of ['adapter/adapter_model.safetensors', 'checkpoints/step-14/optimizer.safetensors'])
      expect(readFileSync(at('cut', file)).equals(readFileSync(at('whole', file))), file).toBe(true);
  });
});
