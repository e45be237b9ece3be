import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { readNpz } from '../../src/formats/npz.ts';
import type { TrainResult } from '../../src/index.ts';
import { digits, digitsModel, writeJsonl } from '../support/digits.ts';
import { bin, type Finished, loraify } from '../support/runCli.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const cwd = temporaryFolder();
const at = (...parts: readonly string[]): string => join(cwd, ...parts);
const escapeCode = String.fromCharCode(27);
beforeAll(async () => {
  writeJsonl(at('train.jsonl'), digits(0, 100));
  writeJsonl(at('test.jsonl'), digits(100, 20));
  const compiled = await loraify([digitsModel, '-r', '4'], { cwd });
  expect(compiled).toMatchObject({ status: 0, stderr: '' });
});

/** A command that several tests look at the outcome of. */
function loraifyOnce(args: readonly string[]): () => Promise<Finished> {
  let finished: Promise<Finished> | undefined;
  return () => (finished ??= loraify(args, { cwd }));
}

describe('exit status 2 and a hint for wrong usage', () => {
  it.each([
    [[], 'need at least 1'],
    [['train'], 'train needs package'],
    [[digitsModel, '--nonsense'], 'nonsense'],
    [[digitsModel, '-r', 'many'], '--rank needs a number'],
    [[digitsModel, '-r', '1.5'], '--rank needs an integer'],
    [[digitsModel, '-r'], '-r needs a value'],
    [[digitsModel, '--target', 'a', 'b'], 'b'],
    [[digitsModel, '--loss', 'hinge'], 'cross-entropy'],
    [[digitsModel, '--bind', 'image'], '--bind needs NAME=VALUE'],
    [[digitsModel, '--emit', 'model,tarin'], 'tarin'],
    [['train', 'digits.lora'], '--data is missing'],
    [['merge', 'digits.lora'], '--out is missing'],
    [['train', 'digits.lora', '--data', 'train.jsonl', '--schedule', 'step'], 'constant, linear, cosine'],
  ])('%o', async (args, word) => {
    const { status, stdout, stderr } = await loraify(args, { cwd });
    expect(stderr).toContain(word);
    expect(stderr).toMatch(/\nhint: see loraify (?:\w+ )?--help\n$/);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
  });
});

describe('exit status 1, the code and a hint for what goes wrong', () => {
  it.each([
    [['none.onnx'], 'FILE_NOT_FOUND', 'none.onnx'],
    [[digitsModel], 'TARGET_EXISTS', 'digits.lora'],
    [[digitsModel, '-o', 'x', '--target', 'fc9'], 'NO_TARGETS', 'fc9'],
    [[digitsModel, '-o', 'x', '--bind', 'image=zebra'], 'BAD_OPTION', 'zebra'],
    [['inspect', digitsModel, '--bind', 'images=zeros'], 'BAD_OPTION', 'image'],
    [[digitsModel, '-o', 'x', '--seq', '9'], 'BAD_OPTION', 'the second axis of "image"'],
    [[digitsModel, '-o', 'x', '--loss', 'mse', '--label-smoothing', '0.1'], 'BAD_OPTION', '--label-smoothing'],
    [[digitsModel, '-o', 'x', '--momentum', '0.5'], 'BAD_OPTION', '--momentum'],
    [['eval', '.', '--data', 'test.jsonl'], 'BAD_PACKAGE', 'loraify.json'],
    [['eval', 'digits.lora', '--data', 'none.jsonl'], 'FILE_NOT_FOUND', 'none.jsonl'],
    [['eval', 'digits.lora', '--data', 'none.txt'], 'BAD_DATA', '.txt'],
    [['eval', 'digits.lora', '--data', 'test.jsonl', '--ep', 'dml'], 'PROVIDER_MISSING', 'dml'],
    [['predict', 'digits.lora', '--data', 'test.jsonl', '-o', 'x.csv'], 'BAD_OPTION', '.csv'],
    [['train', 'digits.lora', '--data', 'test.jsonl', '-o', 'no.run', '--resume'], 'BAD_CHECKPOINT', 'no.run'],
    [['--config', 'none.yaml', digitsModel], 'FILE_NOT_FOUND', 'none.yaml'],
  ])('%o', async (args, code, word) => {
    const { status, stdout, stderr } = await loraify(args, { cwd });
    expect(stderr).toMatch(new RegExp(`^error\\[${code}\\]: .*${word.replace('.', '\\.')}`, 'm'));
    expect(stderr).toMatch(/^hint: ./m);
    expect(stderr).not.toMatch(/^\s+at .*\.js/m);
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
  });

  it('tells both ways to the CUDA provider', async () => {
    const { status, stderr } = await loraify(
      ['eval', 'digits.lora', '--adapter', 'start', '--data', 'test.jsonl', '--ep', 'cuda'],
      { cwd },
    );
    // On a machine that has it there is nothing to tell.
    if (status === 0) return;
    expect(stderr).toMatch(/^error\[PROVIDER_MISSING\].*"cuda"/m);
    expect(stderr).toContain('npm rebuild onnxruntime-node --ignore-scripts=false');
    expect(stderr).toContain('onnxruntime-gpu');
    expect(stderr).toContain('LD_LIBRARY_PATH');
    expect(stderr.trimEnd().split('\n')).toHaveLength(2);
  });
});

describe('help and version', () => {
  it.each([[['--help']], [['train', '--help']], [['--version']]])('%o go to stdout', async (args) => {
    const { status, stdout, stderr } = await loraify(args, { cwd });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/loraify train|^\d+\.\d+\.\d+\n$/);
  });

  it('does not load ONNX Runtime', () => {
    const script = `
      const { main } = await import(${JSON.stringify(new URL('../../dist/cli/main.js', import.meta.url).href)});
      await main(['--help']);
      await main([${JSON.stringify(digitsModel)}, '--dry-run']);
      const loaded = process.report.getReport().sharedObjects.filter((f) => f.includes('onnxruntime'));
      process.exit(loaded.length === 0 ? 0 : 3);`;
    expect(spawnSync(process.execPath, ['--input-type=module', '-e', script], { cwd }).status).toBe(0);
  });
});

describe('config files', () => {
  it('give options by their names; flags win', async () => {
    writeFileSync(
      at('a.yaml'),
      'rank: 2\nweight-decay: 0.5\ntarget: [fc1, classifier]\nrankPattern: {classifier: 3}\njson: true\n',
    );
    const { stdout, stderr, status } = await loraify(
      [digitsModel, '--config', 'a.yaml', '--dry-run', '--weight-decay', '0'],
      { cwd },
    );
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const { manifest, dryRun } = JSON.parse(stdout);
    expect(dryRun).toBe(true);
    expect(manifest.layers.map((l: { path: string; rank: number }) => [l.path, l.rank])).toEqual([
      ['features.fc1', 2],
      ['classifier', 3],
    ]);
    expect(manifest.optimizer.weightDecay).toBe(0);
  });

  it('may be JSON and hold what a command must have', async () => {
    writeFileSync(at('a.json'), JSON.stringify({ data: 'test.jsonl', batchSize: 5, quiet: true }));
    expect(await loraify(['eval', 'digits.lora', '--config', 'a.json'], { cwd })).toMatchObject({
      status: 0,
      stderr: '',
    });
  });

  it('are refused with unknown options', async () => {
    writeFileSync(at('b.yaml'), 'rang: 2\n');
    const { status, stderr } = await loraify([digitsModel, '--config', 'b.yaml'], { cwd });
    expect(status).toBe(2);
    expect(stderr).toContain('"rang", did you mean "rank"');
  });
});

describe('results', () => {
  it('a compile says which lengths are fixed', async () => {
    const { stdout } = await loraify([digitsModel, '--batch', '4', '--dry-run'], { cwd });
    expect(stdout).toContain('  lengths     batch 4 in the graphs that take steps; evaluation takes any\n');
  });

  it('inspect shows every layer and why some are left alone', async () => {
    const { stdout } = await loraify(['inspect', digitsModel, '--target', 'fc1'], { cwd });
    expect(stdout).toMatch(/features\.fc1 .*Gemm .*64 x 128 .*8 .*1,536 .*yes/);
    expect(stdout).toMatch(/classifier .*no: not a target/);
    expect(stdout).toContain('loss: cross-entropy on "logits"');
    const { stdout: json } = await loraify(['inspect', 'digits.lora', '--json'], { cwd });
    expect(JSON.parse(json)).toMatchObject({ opset: 17, totals: { layers: 3, chosen: 3 } });
    const { stdout: grad } = await loraify(['inspect', digitsModel, '--grad'], { cwd });
    expect(grad).toContain('gradients: 5 nodes differentiated, 0 stopped, 0 blocked');
    expect(grad).toMatch(/Gemm, adapted .* 3 .* rule/);
    const { stdout: why } = await loraify(['inspect', digitsModel, '--why'], { cwd });
    expect(why).toContain('near-misses: none');
  });

  it('eval, predict, merge, export and print', async () => {
    const evaluated = await loraify(['eval', 'digits.lora', '--data', 'test.jsonl', '--json'], { cwd });
    expect(JSON.parse(evaluated.stdout)).toMatchObject({
      weight: 20,
      examples: 20,
      accuracy: expect.any(Number),
      provider: 'cpu',
    });
    const both = 'digits.lora/adapter=0.7,./digits.lora/adapter=0.3';
    const combined = ['eval', 'digits.lora', '--data', 'test.jsonl', '--adapter', both];
    expect((await loraify(combined, { cwd })).stdout).toContain('20 examples');
    expect(await loraify([...combined, '--combination', 'cat'], { cwd })).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/^error\[ADAPTER_MISMATCH\]: .*rank 8 in the combination[\s\S]*loraify export/),
    });
    const predict = (out: string) =>
      loraify(['predict', 'digits.lora', '--adapter', 'start', '--data', 'test.jsonl', '-o', out], { cwd });
    expect(await predict('p.npz')).toMatchObject({ status: 0, stderr: '' });
    expect(await predict('p.jsonl')).toMatchObject({ status: 0 });
    expect((await predict('p.jsonl')).stderr).toContain('TARGET_EXISTS');
    const logits = readNpz(at('p.npz')).get('logits');
    expect(logits?.shape).toEqual([20, 10]);
    const [first = ''] = readFileSync(at('p.jsonl'), 'utf8').split('\n');
    const row: number[] = JSON.parse(first).logits;
    expect(Float32Array.from(row)).toEqual(new Float32Array(logits?.data.slice(0, 40).buffer ?? []));

    const merge = ['merge', 'digits.lora', '-o', 'merged.onnx', '--json'];
    expect((await loraify(merge, { cwd })).stderr).toContain('error[UNTRAINED]');
    const merged = await loraify([...merge, '--adapter', 'start'], { cwd });
    expect(JSON.parse(merged.stdout)).toMatchObject({ file: 'merged.onnx', layers: 3, error: expect.any(Number) });
    // B is 0 at the start: the merge changes nothing.
    expect(readFileSync(at('merged.onnx'))).toEqual(readFileSync(digitsModel));
    expect(await loraify(['export', 'digits.lora', '--format', 'peft', '-o', 'peft'], { cwd })).toMatchObject({
      status: 0,
    });
    expect(readdirSync(at('peft')).toSorted()).toEqual(['adapter_config.json', 'adapter_model.safetensors']);
    const printed = await loraify(['print', digitsModel], { cwd });
    expect(printed.stdout).toContain('Gemm');
  });

  it('doctor lists the providers and how to get those that are missing', async () => {
    const { status, stdout } = await loraify(['doctor', '--json'], { cwd });
    expect(status).toBe(0);
    const { providers, onnxruntime } = JSON.parse(stdout);
    expect(onnxruntime).toMatch(/^\d+\.\d+/);
    expect(providers).toContainEqual({ name: 'cpu', ok: true });
  });

  it('have no colours off a terminal', async () => {
    const { stderr } = await loraify(['none.onnx'], { cwd, env: { FORCE_COLOR: '1' } });
    expect(stderr).not.toContain(escapeCode);
  });

  it('may be cut off by the reader', () => {
    const { stderr } = spawnSync('sh', [
      '-c',
      `"${process.execPath}" "${bin}" print "${digitsModel}" --full | head -1`,
    ]);
    expect(stderr.toString()).toBe('');
  });
});

describe('the end of a run', () => {
  const train = ['train', 'digits.lora', '--data', 'train.jsonl', '--eval-data', 'test.jsonl', '--batch-size', '16'];
  const end = async (name: string, ...options: readonly string[]) => {
    const people = await loraify([...train, ...options, '-o', name], { cwd });
    const json = await loraify([...train, ...options, '-o', `${name} json`, '--json', '--quiet'], { cwd });
    expect([people.status, json.status]).toEqual([0, 0]);
    const { result }: { result: TrainResult } = JSON.parse(json.stdout.trimEnd().split('\n').at(-1) ?? '');
    return { lines: people.stdout.trimEnd().split('\n'), stderr: people.stderr, result };
  };

  it('is a before and after where an evaluation beats the source model', async () => {
    const { lines, result } = await end('better', '--lr', '0.01', '--steps', '20');
    expect(lines.at(-1)).toMatch(
      /^accuracy [\d.]+ % -> [\d.]+ %, F1 [\d.]+ -> [\d.]+, loss [\d.]+ -> [\d.]+ \(step \d+ of 20, [\d.]+ s\)$/,
    );
    expect(lines.at(-2)).toMatch(/^next: loraify merge /);
    expect(result).toMatchObject({ improved: true, metric: 'loss', start: { step: 0 }, end: { step: 20 } });
    expect(result.best?.loss).toBeLessThan(result.start?.loss ?? 0);
  });

  it.each([
    ['ruined', ['--lr', '10', '--steps', '20'], /the loss has grown from|the gradient was 0/],
    ['unchanged', ['--lr', '0', '--steps', '4'], /^/],
  ])('is a sentence about a run that is %s', async (name, options, alarm) => {
    const { lines, stderr, result } = await end(name, ...options);
    expect(lines.at(-1)).toMatch(
      /^no evaluation was better than the source model \(loss [\d.]+, accuracy [\d.]+ %, F1 [\d.]+\): try a lower --learning-rate$/,
    );
    expect(lines.join('\n')).not.toContain('next:');
    expect(stderr).toMatch(alarm);
    expect(stderr).not.toContain('the best so far');
    expect(result).toMatchObject({ improved: false, best: { step: 0 } });
    // The start is what the run keeps, and its best trained adapter is in a checkpoint.
    const kept = readFileSync(join(cwd, name, 'adapter/adapter_model.safetensors'));
    expect(kept.equals(readFileSync(join(cwd, 'digits.lora/adapter/adapter_model.safetensors')))).toBe(true);
    expect(existsSync(join(cwd, name, 'checkpoints', `step-${result.steps}`))).toBe(true);
  });

  it('has nothing to compare without evaluation data', async () => {
    const run = await loraify(
      ['train', 'digits.lora', '--data', 'train.jsonl', '--steps', '2', '-o', 'blind', '--json'],
      { cwd },
    );
    expect(JSON.parse(run.stdout.trimEnd().split('\n').at(-1) ?? '').result).toMatchObject({ improved: null });
    const wrong = await loraify([...train, '--metric', 'mae', '-o', 'wrong'], { cwd });
    expect(wrong.stderr).toMatch(/error\[BAD_OPTION\]: --metric mae is not a metric of the loss cross-entropy/);
  });
});

describe('train', () => {
  const train = ['train', 'digits.lora', '--data', 'train.jsonl', '--batch-size', '16', '--lr', '0.01'];

  it('prints steps on stderr, and with --json JSON Lines', async () => {
    const plain = await loraify([...train, '--steps', '4', '-o', 'plain', '--eval-data', 'test.jsonl'], { cwd });
    expect(plain.status).toBe(0);
    expect(plain.stderr).toMatch(/step 4\/4 {2}loss [\d.]+ {2}lr 0\.01 {2}[\d,]+ examples\/s/);
    expect(plain.stderr).toMatch(/evaluation at step 4: loss [\d.]+, accuracy [\d.]+ %, F1 [\d.]+, the best so far/);
    expect(plain.stdout).toContain('wrote plain/adapter');

    const json = await loraify([...train, '--steps', '4', '-o', 'json', '--json', '--quiet'], { cwd });
    expect(json).toMatchObject({ status: 0, stderr: '' });
    const lines = json.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines).toHaveLength(5);
    expect(lines[3]).toMatchObject({ step: 4, loss: expect.any(Number), lr: 0.01, grad_norm: expect.any(Number) });
    expect(lines[4]).toMatchObject({ result: { steps: 4, stopped: 'done', adapter: 'json/adapter' } });
  });

  it('--no-shuffle takes the rows in order', async () => {
    const run = (out: string, ...more: readonly string[]) =>
      loraify([...train, '--steps', '2', '-o', out, '--quiet', ...more], { cwd });
    await run('ordered', '--no-shuffle');
    await run('shuffled');
    const adapter = (out: string): Buffer => readFileSync(at(out, 'adapter/adapter_model.safetensors'));
    expect(adapter('ordered')).not.toEqual(adapter('shuffled'));
  });

  // The signal comes at any step; how far the run got does not matter for what the resumed one gives.
  // SIGKILL is in survive.test.ts.
  const steps = 400;
  const args = [...train, '--steps', String(steps), '--schedule', 'linear', '--warmup', '0.1', '--save-every', '50'];
  const uncut = loraifyOnce([...args, '-o', 'uncut', '--quiet']);
  it.each(['SIGINT', 'SIGTERM'] as const)('%s: resumed, the run ends as if it had not been cut', async (signal) => {
    expect((await uncut()).status).toBe(0);
    let sent = false;
    const watch = (stderr: string, child: { kill(signal: NodeJS.Signals): boolean }): void => {
      if (sent || !stderr.includes('step 60/')) return;
      sent = true;
      child.kill(signal);
    };
    const cut = await loraify([...args, '-o', signal], { cwd, watch });
    expect(sent).toBe(true);
    expect(cut.status).toBe(130);
    expect(cut.stdout).toMatch(/interrupted after \d+ steps/);
    expect(existsSync(at(signal, 'adapter'))).toBe(false);
    const resumed = await loraify([...args, '-o', signal, '--resume'], { cwd });
    expect(resumed).toMatchObject({ status: 0 });
    expect(resumed.stderr).toMatch(/[1-9]\d* done before/);
    for (const file of ['adapter/adapter_model.safetensors', `checkpoints/step-${steps}/optimizer.safetensors`]) {
      expect(readFileSync(at(signal, file))).toEqual(readFileSync(at('uncut', file)));
    }
    const log = (out: string): object[] =>
      readFileSync(at(out, 'log.jsonl'), 'utf8')
        .trimEnd()
        .split('\n')
        .map((line) => ({ ...JSON.parse(line), examples_per_second: 0 }));
    expect(log(signal)).toEqual(log('uncut'));
  });
});
