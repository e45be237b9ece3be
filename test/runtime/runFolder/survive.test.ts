import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { type TrainEvent, type TrainOptions, type TrainResult, train } from '../../../src/index.ts';
import { lock } from '../../../src/runtime/runFolder/lock.ts';
import { openLog } from '../../../src/runtime/runFolder/log.ts';
import { coded } from '../../support/coded.ts';
import { compileDigits, digits, writeJsonl } from '../../support/digits.ts';
import { temporaryFolder } from '../../support/temporaryFolder.ts';

const folder = temporaryFolder();
const at = (...parts: readonly string[]): string => join(folder, ...parts);
const settings = { steps: 12, batchSize: 16, learningRate: 0.01, saveEvery: 2, schedule: 'cosine' } as const;
let dir = '';
let data = '';
let evalData = '';
beforeAll(async () => {
  dir = await compileDigits(folder);
  data = writeJsonl(at('train.jsonl'), digits(0, 100));
  evalData = writeJsonl(at('eval.jsonl'), digits(100, 40));
});

interface Told {
  readonly result: TrainResult;
  readonly notices: readonly string[];
}

async function run(out: string, options: Partial<TrainOptions> = {}): Promise<Told> {
  const notices: string[] = [];
  const onEvent = (event: TrainEvent): void => void (event.kind === 'notice' && notices.push(event.text));
  return { result: await train(dir, { data, out: at(out), ...settings, onEvent, ...options }), notices };
}

const steps = (out: string): number[] =>
  readFileSync(at(out, 'log.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
    .filter((line) => line.loss !== undefined)
    .map((line) => line.step);
const all = Array.from({ length: 12 }, (_, i) => i + 1);
const checkpoints = (out: string): string[] => readdirSync(at(out, 'checkpoints')).toSorted();
const bytes = (out: string): Buffer[] =>
  ['adapter/adapter_model.safetensors', 'checkpoints/step-12/optimizer.safetensors'].map((f) =>
    readFileSync(at(out, f)),
  );

describe('checkpoints', () => {
  it('are kept to the last N', async () => {
    await run('five');
    expect(checkpoints('five')).toEqual(['step-10', 'step-12', 'step-4', 'step-6', 'step-8']);
    await run('one', { keep: 1 });
    expect(checkpoints('one')).toEqual(['step-12']);
    await expect(run('none', { keep: 0 })).rejects.toSatisfy(coded('BAD_OPTION', '--keep'));
    expect(existsSync(at('none'))).toBe(false);
  });

  it('are kept to the last N and the best', async () => {
    // At this learning rate the loss is lowest in the first steps.
    const { result } = await run('best', { keep: 1, learningRate: 0.3, schedule: 'constant', evalData, evalEvery: 1 });
    expect(result.best?.step).toBeLessThan(12);
    expect(checkpoints('best')).toEqual([`step-${result.best?.step}`, 'step-12'].toSorted());
    expect(readFileSync(at('best/adapter/adapter_model.safetensors'))).toEqual(
      readFileSync(at(`best/checkpoints/step-${result.best?.step}/adapter_model.safetensors`)),
    );
    expect(result.start?.loss).toBeGreaterThan(result.best?.loss ?? Number.NaN);
    expect(result.improved).toBe(true);
  });

  // Every file of the last checkpoint, every way to lose it: the one before it is used, and that is said.
  const files = ['adapter_model.safetensors', 'adapter_config.json', 'optimizer.safetensors', 'trainer_state.json'];
  const damages: readonly [string, (file: string) => void][] = [
    ['missing', (file) => rmSync(file)],
    ['cut short', (file) => truncateSync(file, 100)],
    ['empty', (file) => truncateSync(file, 0)],
    [
      'of another byte',
      (file) => {
        const content = readFileSync(file);
        // A digit or a number's bits: still a file of its format.
        const found = /"(?:epoch|r|waited)": ?\d/.exec(content.toString('latin1'));
        const place = found === null ? content.length - 1 : found.index + found[0].length - 1;
        content[place] = (content[place] ?? 0) ^ 1;
        writeFileSync(file, content);
      },
    ],
  ];
  beforeAll(() => run('template'));
  const pairs = files.flatMap((file) => damages.map(([how, damage]) => [file, how, damage] as const));
  // Half of them: each file in two ways, each way for two files.
  it.each(pairs.filter((_, i) => (i + Math.floor(i / 4)) % 2 === 0))(
    'with %s %s are passed over',
    async (file, how, damage) => {
      const name = `${file} ${how}`;
      cpSync(at('template'), at(name), { recursive: true });
      damage(at(name, 'checkpoints/step-12', file));
      const { notices } = await run(name, { resume: true });
      expect(notices).toEqual([
        expect.stringMatching(/skipped a damaged checkpoint.*step-12\.damaged: .*/),
        `resuming from ${at(name, 'checkpoints/step-10')}`,
      ]);
      expect(bytes(name)).toEqual(bytes('template'));
      expect(steps(name)).toEqual(all);
      expect(checkpoints(name)).toContain('step-12.damaged');
    },
  );

  it('whose best one is damaged are passed over too: its steps are taken again', async () => {
    // At this learning rate the loss is lowest after 7 steps, and before that after 6.
    const options = { learningRate: 0.1, schedule: 'constant', evalData, evalEvery: 1, keep: 9 } as const;
    const { result } = await run('lost best', options);
    const best = result.best?.step ?? 0;
    expect(best).toBeGreaterThan(1);
    expect(best).toBeLessThan(12);
    const uncut = bytes('lost best');
    rmSync(at('lost best/checkpoints', `step-${best}`, 'adapter_model.safetensors'));
    // Killed again on the way: what comes behind must not be taken for the run's last checkpoint.
    const stop = new AbortController();
    const onEvent = (event: TrainEvent): void =>
      event.kind === 'step' && event.step.step === best + 1 ? stop.abort() : undefined;
    await run('lost best', { ...options, resume: true, signal: stop.signal, onEvent });
    expect(steps('lost best')).toEqual(all.slice(0, best + 1));
    const again = await run('lost best', { ...options, resume: true });
    expect(again.result).toMatchObject({ best: { step: best, loss: result.best?.loss } });
    expect(bytes('lost best')).toEqual(uncut);
    expect(steps('lost best')).toEqual(all);
  });

  it('without their best one, and with none from before it, are gone on from: the best is lost, and that is said', async () => {
    // Here the loss is lowest after the first step.
    const options = { learningRate: 0.3, schedule: 'constant', evalData, evalEvery: 1 } as const;
    expect((await run('no best', options)).result.best?.step).toBe(1);
    rmSync(at('no best/checkpoints/step-1'), { recursive: true });
    const { result, notices } = await run('no best', { ...options, steps: 13, resume: true });
    expect(notices).toEqual([expect.stringMatching(/best adapter so far is lost.*step-1:/)]);
    expect(result).toMatchObject({ steps: 13, best: { step: 13 } });
  });

  it('none of which is whole are named', async () => {
    await run('ruined', { steps: 4 });
    for (const name of checkpoints('ruined')) rmSync(at('ruined/checkpoints', name, 'trainer_state.json'));
    await expect(run('ruined', { resume: true })).rejects.toSatisfy(coded('BAD_CHECKPOINT', 'step-2', 'step-4'));
  });
});

describe('what a killed process leaves', () => {
  it('is cleared away', async () => {
    await run('rest', { steps: 4 });
    for (const name of ['.adapter.7.tmp', 'checkpoints/.step-6.7.tmp', 'checkpoints/.step-2.7.old']) {
      mkdirSync(at('rest', name));
      writeFileSync(at('rest', name, 'half'), 'x');
    }
    writeFileSync(at('rest/run.json.7.tmp'), '{');
    writeFileSync(at('rest/lock.7.stale'), '{');
    await run('rest', { resume: true });
    expect(readdirSync(at('rest'), { recursive: true }).filter((name) => /\.7\./.test(String(name)))).toEqual([]);
  });

  it('before the run began is no run: it can be resumed, begun again, replaced', async () => {
    const { pid } = spawnSync(process.execPath, ['-e', '']);
    for (const options of [{ resume: true }, {}, { force: true }]) {
      const name = `only a lock ${JSON.stringify(options)}`;
      mkdirSync(at(name));
      writeFileSync(at(name, 'lock'), JSON.stringify({ pid, host: (await import('node:os')).hostname() }));
      await run(name, { steps: 2, ...options });
      expect(steps(name)).toEqual([1, 2]);
    }
    // Any other folder is somebody's.
    mkdirSync(at('notes'));
    writeFileSync(at('notes/lock'), '{}');
    writeFileSync(at('notes/diary'), '');
    await expect(run('notes', { resume: true })).rejects.toSatisfy(coded('BAD_CHECKPOINT', 'run.json'));
    await expect(run('notes', { force: true })).rejects.toSatisfy(coded('TARGET_NOT_REPLACEABLE', 'run.json'));
    writeFileSync(at('a file'), '');
    await expect(run('a file', { resume: true })).rejects.toSatisfy(coded('BAD_CHECKPOINT', 'not a folder'));
  });

  it('is nothing where the data were wrong, the folders above included', async () => {
    await expect(run('deep/er/run', { data: at('none.jsonl') })).rejects.toSatisfy(coded('FILE_NOT_FOUND'));
    expect(existsSync(at('deep'))).toBe(false);
  });
});

it('weights that changed under the same names are another run', async () => {
  const copy = await compileDigits(at('copy'));
  const file = join(copy, 'weights.bin');
  const options = { data, out: at('weights'), ...settings, steps: 2 };
  await train(copy, options);
  const content = readFileSync(file);
  content[content.length - 4] = (content[content.length - 4] ?? 0) ^ 1;
  writeFileSync(file, content);
  await expect(train(copy, { ...options, resume: true })).rejects.toSatisfy(
    coded('BAD_CHECKPOINT', 'the package differs'),
  );
});

describe('a run that is in use', () => {
  it('is refused to others, whatever they ask for, and goes on untouched', async () => {
    await run('used', { steps: 4 });
    const before = readdirSync(at('used'), { recursive: true });
    const held = lock(at('used'));
    for (const options of [{}, { resume: true }, { force: true }]) {
      await expect(run('used', options)).rejects.toSatisfy(coded('RUN_LOCKED', `process ${process.pid}`));
    }
    held.release();
    expect(readdirSync(at('used'), { recursive: true })).toEqual(before);
  });

  it('stops before it writes where another process has taken it', async () => {
    const onEvent = (event: TrainEvent): void => {
      if (event.kind === 'step' && event.step.step === 3) {
        writeFileSync(at('taken', 'lock'), JSON.stringify({ pid: 1, host: 'elsewhere' }));
      }
    };
    await expect(run('taken', { onEvent })).rejects.toSatisfy(coded('RUN_LOCKED', 'elsewhere'));
    expect(checkpoints('taken')).toEqual(['step-2']);
    // Its lock is not ours to remove.
    expect(existsSync(at('taken/lock'))).toBe(true);
  });
});

describe('the log', () => {
  it('drops what comes behind a step, and a line cut short; a line without its end was cut short too', () => {
    mkdirSync(at('log'));
    const file = at('log/log.jsonl');
    for (const rest of ['{"step":3}\n{"st', '{"step":2}', '\n{"step":4}\n', '']) {
      writeFileSync(file, `{"step":1}\n{"step":2,"loss":1}\n{"step":2,"eval_loss":1}\n${rest}`);
      const log = openLog(at('log'), 2);
      log.write({ step: 3 });
      log.close();
      expect(readFileSync(file, 'utf8')).toBe(
        '{"step":1}\n{"step":2,"loss":1}\n{"step":2,"eval_loss":1}\n{"step":3}\n',
      );
    }
  });

  it.runIf(existsSync('/dev/full'))('says when the disk is full', () => {
    mkdirSync(at('full log'));
    const log = openLog(at('full log'), 0);
    log.close();
    rmSync(at('full log/log.jsonl'));
    symlinkSync('/dev/full', at('full log/log.jsonl'));
    const full = openLog(at('full log'), 0);
    expect(() => full.write({ step: 1 })).toThrow(expect.toSatisfy(coded('WRITE_FAILED', 'log.jsonl', 'ENOSPC')));
    full.close();
  });
});
