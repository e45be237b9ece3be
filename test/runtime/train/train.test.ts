import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { evaluate, type TrainEvent, type TrainOptions, type TrainResult, train } from '../../../src/index.ts';
import { lock } from '../../../src/runtime/runFolder/lock.ts';
import { coded } from '../../support/coded.ts';
import { compileDigits, digits, writeJsonl } from '../../support/digits.ts';
import { temporaryFolder } from '../../support/temporaryFolder.ts';

const folder = temporaryFolder();
const at = (...parts: readonly string[]): string => join(folder, ...parts);
let dir = '';
let data = '';
let evalData = '';
beforeAll(async () => {
  dir = await compileDigits(folder);
  data = writeJsonl(at('train.jsonl'), digits(0, 100));
  evalData = writeJsonl(at('eval.jsonl'), digits(100, 40));
});

const run = (out: string, options: Partial<TrainOptions> = {}): Promise<TrainResult> =>
  train(dir, { data, out: at(out), steps: 12, batchSize: 16, learningRate: 0.01, schedule: 'cosine', ...options });

interface LogLine {
  readonly step: number;
  readonly loss?: number;
  readonly eval_loss?: number;
  readonly accuracy?: number;
}

function log(out: string): LogLine[] {
  return readFileSync(at(out, 'log.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

/** Everything that must not depend on whether a run was cut: all but speeds. */
function numbers(out: string): unknown {
  return log(out).map((line) => ({ ...line, examples_per_second: 0 }));
}

const files = [
  'adapter/adapter_model.safetensors',
  'adapter/adapter_config.json',
  'checkpoints/step-12/optimizer.safetensors',
];
const bytes = (out: string): Buffer[] => files.map((name) => readFileSync(at(out, name)));

/** Aborts a run after step `n`. */
function stopAfter(n: number): Pick<TrainOptions, 'signal' | 'onEvent'> {
  const stop = new AbortController();
  const onEvent = (event: TrainEvent): void => {
    if (event.kind === 'step' && event.step.step === n) stop.abort();
  };
  return { signal: stop.signal, onEvent };
}

describe('a run folder', () => {
  it('has the adapter, the last checkpoint and one line per step', async () => {
    const result = await run('whole');
    expect(result).toMatchObject({ stopped: 'done', steps: 12, provider: 'cpu', adapter: at('whole', 'adapter') });
    expect(readdirSync(at('whole')).toSorted()).toEqual([
      'adapter',
      'checkpoints',
      'log.jsonl',
      'loss.svg',
      'run.json',
    ]);
    expect(readdirSync(at('whole', 'checkpoints'))).toEqual(['step-12']);
    expect(log('whole').map((line) => line.step)).toEqual(Array.from({ length: 12 }, (_, i) => i + 1));
    expect(log('whole')[0]).toMatchObject({
      lr: 0.01,
      grad_norm: expect.any(Number),
      examples_per_second: expect.any(Number),
    });
  });

  it('is not written over without force, and with it only where it is a run', async () => {
    await run('taken', { steps: 2 });
    await expect(run('taken')).rejects.toSatisfy(coded('TARGET_EXISTS', 'taken'));
    await run('taken', { steps: 3, force: true });
    expect(log('taken')).toHaveLength(3);
    mkdirSync(at('other'));
    writeFileSync(at('other', 'precious'), '');
    await expect(run('other', { force: true })).rejects.toSatisfy(coded('TARGET_NOT_REPLACEABLE', 'run.json'));
    expect(existsSync(at('other', 'precious'))).toBe(true);
  });

  it('is left as it was where the data are wrong', async () => {
    await run('kept', { steps: 2 });
    const wrong = writeJsonl(at('wrong.jsonl'), [{ image: [1], labels: 0 }]);
    await expect(run('kept', { data: wrong, force: true })).rejects.toSatisfy(coded('BAD_DATA', 'line 1'));
    await expect(run('kept', { pad: { images: 1 }, force: true })).rejects.toSatisfy(coded('BAD_OPTION', '"image"'));
    expect(log('kept')).toHaveLength(2);
    await expect(run('new', { data: wrong })).rejects.toSatisfy(coded('BAD_DATA'));
    await expect(run('new', { data: at('none.jsonl') })).rejects.toSatisfy(coded('FILE_NOT_FOUND'));
    expect(existsSync(at('new'))).toBe(false);
  });

  it('is locked while it is in use', async () => {
    mkdirSync(at('busy'));
    const held = lock(at('busy'));
    writeFileSync(at('busy', 'run.json'), '{}');
    await expect(run('busy', { force: true })).rejects.toSatisfy(coded('RUN_LOCKED', String(process.pid)));
    held.release();
    await run('busy', { force: true, steps: 1 });
    expect(existsSync(at('busy', 'lock'))).toBe(false);
  });
});

describe('dropout', () => {
  const dropped = (out: string, options: Partial<TrainOptions> = {}): Promise<TrainResult> =>
    train(at('dropped.lora'), { data, out: at(out), steps: 12, batchSize: 16, learningRate: 0.01, ...options });
  beforeAll(() => compileDigits(folder, { dropout: 0.2, out: at('dropped.lora') }));

  it.each([
    ['one step per run', {}],
    ['several steps per run', { stepsPerRun: 3 }],
    ['gathered gradients', { gradAccum: 2 }],
  ] as const)('goes on with the masks of a run that was not cut: %s', async (name, options) => {
    await dropped(`dropped ${name} uncut`, options);
    await dropped(`dropped ${name}`, { ...options, ...stopAfter(5) });
    await dropped(`dropped ${name}`, { ...options, resume: true });
    expect(bytes(`dropped ${name}`)).toEqual(bytes(`dropped ${name} uncut`));
    expect(numbers(`dropped ${name}`)).toEqual(numbers(`dropped ${name} uncut`));
  });

  it('differs from step to step, and by the seed of the run', async () => {
    const one = writeJsonl(at('one.jsonl'), digits(0, 8));
    // Nothing is learned, so the loss of the same rows changes with the mask alone.
    const adapter = at('dropped one step per run uncut/adapter');
    const still = { data: one, batchSize: 8, shuffle: false, learningRate: 0, steps: 4, adapter } as const;
    await dropped('still', still);
    await dropped('seed', { ...still, seed: 1 });
    const losses = [...log('still'), ...log('seed')].map((line) => line.loss);
    expect(new Set(losses).size).toBe(8);
  });
});

describe('resuming', () => {
  // With 7 steps an epoch, 5 is inside the first and 9 inside the second one.
  it.each([
    ['one step per run', {}, [5]],
    ['twice', {}, [5, 9]],
    ['several steps per run', { stepsPerRun: 3 }, [5]],
    ['gathered gradients', { gradAccum: 2 }, [5]],
    ['evaluations', { evalEvery: 4 }, [5, 9]],
  ] as const)('gives the bits of a run that was not cut: %s', async (name, options, cuts) => {
    const settings = 'evalEvery' in options ? { ...options, evalData } : options;
    await run(`${name} uncut`, settings);
    for (const [i, cut] of cuts.entries()) {
      const result = await run(name, { ...settings, resume: i > 0, ...stopAfter(cut) });
      expect(result.stopped).toBe('interrupted');
      expect(result.adapter).toBeUndefined();
      expect(existsSync(result.checkpoint)).toBe(true);
    }
    expect(await run(name, { ...settings, resume: true })).toMatchObject({ stopped: 'done', steps: 12 });
    expect(bytes(name)).toEqual(bytes(`${name} uncut`));
    expect(numbers(name)).toEqual(numbers(`${name} uncut`));
  });

  it('goes on from the last checkpoint where the process was killed', async () => {
    await run('killed', { steps: 12, saveEvery: 4 });
    const uncut = { bytes: bytes('killed'), numbers: numbers('killed') };
    // What a kill between step 8's checkpoint and the end leaves: lines behind it, one cut short, half a checkpoint, a lock.
    rmSync(at('killed', 'adapter'), { recursive: true });
    rmSync(at('killed', 'checkpoints/step-12'), { recursive: true });
    mkdirSync(at('killed', 'checkpoints/.step-12.1.tmp'));
    const lines = readFileSync(at('killed', 'log.jsonl'), 'utf8');
    truncateSync(at('killed', 'log.jsonl'), lines.trimEnd().length - 20);
    writeFileSync(at('killed', 'lock'), '{"pid":1,');
    await run('killed', { steps: 12, saveEvery: 4, resume: true });
    expect(bytes('killed')).toEqual(uncut.bytes);
    expect(numbers('killed')).toEqual(uncut.numbers);
  });

  it('passes over a damaged checkpoint', async () => {
    await run('damaged', { saveEvery: 4 });
    const uncut = bytes('damaged');
    truncateSync(at('damaged', 'checkpoints/step-12/optimizer.safetensors'), 50);
    const notices: string[] = [];
    const onEvent = (event: TrainEvent): void => void (event.kind === 'notice' && notices.push(event.text));
    await run('damaged', { saveEvery: 4, resume: true, onEvent });
    expect(notices).toContainEqual(expect.stringContaining('optimizer.safetensors was changed'));
    expect(bytes('damaged')).toEqual(uncut);
  });

  it('goes on from the start where there was no checkpoint yet', async () => {
    await run('early');
    const uncut = bytes('early');
    rmSync(at('early', 'checkpoints'), { recursive: true });
    await run('early', { resume: true });
    expect(bytes('early')).toEqual(uncut);
  });

  it('may make a run longer', async () => {
    const constant = { schedule: 'constant' } as const;
    await run('long', { ...constant, steps: 12 });
    await run('longer', { ...constant, steps: 5 });
    await run('longer', { ...constant, steps: 12, resume: true });
    expect(bytes('longer')).toEqual(bytes('long'));
    await expect(run('longer', { ...constant, steps: 3, resume: true })).rejects.toSatisfy(
      coded('BAD_CHECKPOINT', '12 steps'),
    );
  });

  it('refuses another run and says what differs', async () => {
    await run('first', { steps: 2 });
    const again = (options: Partial<TrainOptions>) => run('first', { steps: 2, resume: true, ...options });
    await expect(again({ learningRate: 0.1 })).rejects.toSatisfy(
      coded('BAD_CHECKPOINT', 'learningRate was 0.01 and is now 0.1'),
    );
    await expect(again({ data: evalData })).rejects.toSatisfy(coded('BAD_CHECKPOINT', 'the data differs'));
    await expect(again({ seed: 1, batchSize: 8 })).rejects.toSatisfy(coded('BAD_CHECKPOINT', 'seed', 'batchSize'));
    const other = await compileDigits(at('other.package'), { rank: 2 });
    await expect(train(other, { data, out: at('first'), resume: true })).rejects.toSatisfy(
      coded('BAD_CHECKPOINT', 'package'),
    );
    await expect(run('nowhere', { resume: true })).rejects.toSatisfy(coded('BAD_CHECKPOINT', 'nowhere'));
    cpSync(at('long/checkpoints/step-12'), at('first/checkpoints/step-12'), { recursive: true });
    await expect(run('first', { steps: 20, resume: true })).rejects.toSatisfy(coded('BAD_CHECKPOINT', 'another run'));
  });
});

describe('evaluation during training', () => {
  it('keeps the adapter that was best, and stops when it gets no better', async () => {
    // A learning rate at which the loss goes up again after a few steps.
    const result = await run('patient', {
      steps: 60,
      learningRate: 0.3,
      schedule: 'constant',
      evalData,
      evalEvery: 1,
      patience: 3,
    });
    const evaluations = log('patient').filter((line) => line.eval_loss !== undefined);
    const best = evaluations.slice(1).toSorted((a, b) => (a.eval_loss ?? 0) - (b.eval_loss ?? 0))[0];
    expect(evaluations[0]).toMatchObject({ step: 0, accuracy: expect.any(Number) });
    expect(result).toMatchObject({ stopped: 'patience', best: { step: best?.step, loss: best?.eval_loss } });
    expect(result.steps).toBe((best?.step ?? 0) + 3);
    expect((await evaluate(dir, { data: evalData, adapter: result.adapter, batchSize: 16 })).loss).toBe(
      best?.eval_loss,
    );
    // Resumed, it stays stopped.
    const again = { steps: 60, learningRate: 0.3, schedule: 'constant', evalData, evalEvery: 1, patience: 3 } as const;
    expect(await run('patient', { ...again, resume: true })).toMatchObject({
      stopped: 'patience',
      steps: result.steps,
    });
  });

  it.each([
    [{ evalEvery: 2 }, '--eval-data'],
    [{ patience: 2 }, '--eval-data'],
    [{ saveEvery: 0 }, '--save-every'],
    [{ resume: true, force: true }, 'not both'],
  ])('refuses %o', async (options, word) => {
    await expect(run('refused', options)).rejects.toSatisfy(coded('BAD_OPTION', word));
  });
});

it('keeps the last good state when numbers stop being finite', async () => {
  await expect(run('nan', { learningRate: 1e30 })).rejects.toSatisfy(coded('NON_FINITE', 'step'));
  const steps = log('nan').length;
  expect(readdirSync(at('nan', 'checkpoints'))).toEqual([`step-${steps}`]);
  expect(existsSync(at('nan', 'lock'))).toBe(false);
});
