/** The loss of `auto`, the reach of its gradient, and labels that are not what it expects: small files of each kind. */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { encodeModel } from '../../src/emit/index.ts';
import { readManifest } from '../../src/formats/manifest.ts';
import { parseText } from '../../src/parser/index.ts';
import { caseFolder } from '../support/caseFolder.ts';
import { loraify } from '../support/runCli.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

describe('auto', () => {
  it.each([
    ['mlm-auto-causal-lm', 'cross-entropy', 'a masked language model', 'where "input_ids" is masked'],
    ['genai-tied-auto', 'causal-lm', 'as "lm_head.MatMul.weight" has rows', 'position i with label i + 1'],
    ['segmentation-logits-auto-mse', 'cross-entropy', 'with the classes on axis 1', 'whose classes are axis 1'],
  ])('%s: %s', async (name, kind, reason, labels) => {
    const cwd = caseFolder(name);
    const { status, stdout, stderr } = await loraify(['model.onnx', '-r', '4', '-a', '8', '-o', 'p'], { cwd });
    expect(status, stderr).toBe(0);
    expect(stdout).toMatch(new RegExp(`loss +${kind} on "logits" \\(auto: .*${reason}.*--loss-output change it`));
    expect(stdout).toMatch(new RegExp(`labels +int64 \\[.*${labels.replace(/[+]/g, '\\+')}.*-100 does not count`));
    const { loss } = readManifest(join(cwd, 'p'));
    expect(loss).toMatchObject({ kind, labels: expect.stringContaining(labels) });
    expect(loss?.classAxis).toBe(name === 'segmentation-logits-auto-mse' ? 1 : -1);
  });

  it('names outputs that are not trained, unless one was chosen', async () => {
    const cwd = caseFolder('qa-auto-start-only');
    const args = ['model.onnx', '-r', '2', '-o', 'p', '--force'];
    const { stderr } = await loraify(args, { cwd });
    expect(stderr).toContain('the loss is on output "start_logits" alone: "end_logits" is not trained; --loss-output');
    const chosen = await loraify([...args, '--loss-output', 'end_logits'], { cwd });
    expect(chosen.status).toBe(0);
    expect(chosen.stderr).not.toContain('alone');
  });
});

describe('the reach of the gradient', () => {
  it('names the layers that get none, at the compile, in the manifest, and when training', async () => {
    const cwd = caseFolder('two-heads-one-loss');
    const made = await loraify(['det.onnx', '-r', '2', '-o', 'p', '--loss', 'mse', '--json'], { cwd });
    const text =
      'the loss on output "boxes" has no gradient for 2 of 4 adapted layers, which stay as they are: obj, cls';
    expect(JSON.parse(made.stdout)).toMatchObject({ warnings: expect.arrayContaining([text]) });
    expect(made.stderr).toContain(text);
    expect(readManifest(join(cwd, 'p')).loss?.unreached).toEqual(['obj', 'cls']);
    const inspected = await loraify(['inspect', 'det.onnx', '--loss-output', 'cls'], { cwd });
    expect(inspected.stderr).toContain(
      '"cls" has no gradient for 2 of 4 adapted layers, which stay as they are: box, obj',
    );

    const row = JSON.stringify({ x: [1, 2, 3, 4, 5, 6], labels: [1, 2, 3, 4] });
    writeFileSync(join(cwd, 'rows.jsonl'), `${row}\n`.repeat(4));
    const trained = await loraify(['train', 'p', '--data', 'rows.jsonl', '--steps', '1', '--json', '-o', 'run'], {
      cwd,
    });
    expect(trained.status, trained.stderr).toBe(0);
    const warning =
      'the loss on output "boxes" has no gradient for 2 of 4 adapted layers, which stay as they are: obj, cls';
    expect(trained.stderr).toContain(warning);
    expect(JSON.parse(trained.stdout.trim().split('\n').at(-1) ?? '')).toMatchObject({
      result: { warnings: [warning] },
    });
  });

  const stopped = (last: string, type: string): string =>
    `<ir_version: 8, opset_import: ["" : 17]> main (float[N,3] x) => (${type} first, float[N,3] scores)
     <float[3,3] W = {0.1, -0.2, 0.3, 0.4, 0.5, -0.6, 0.7, 0.8, 0.9}, float zero = {0}>
     { scores = MatMul (x, W) ${last} }`;
  const scratch = temporaryFolder();
  it.each([
    ['Round', 'first = Round (scores)', 'float[N,3]'],
    ['Sign', 'first = Sign (scores)', 'float[N,3]'],
    ['a cast to integers and back', 'i = Cast <to: int = 7> (scores) first = Cast <to: int = 1> (i)', 'float[N,3]'],
    ['ArgMax as float', 'i = ArgMax <axis: int = 1> (scores) first = Cast <to: int = 1> (i)', 'float[N,1]'],
    ['a comparison as float', 'i = Greater (scores, zero) first = Cast <to: int = 1> (i)', 'float[N,3]'],
  ])('behind %s is refused by losses of the output itself, and passed over by auto', async (name, last, type) => {
    const file = join(scratch, `${name}.onnx`);
    writeFileSync(file, encodeModel(parseText(stopped(last, type))));
    const auto = await loraify([file, '-r', '1', '--json', '--dry-run'], { cwd: scratch });
    expect(JSON.parse(auto.stdout)).toMatchObject({ manifest: { loss: { output: 'scores' } } });
    for (const loss of ['mse', 'external']) {
      const refused = await loraify([file, '-r', '1', '--loss', loss, '--loss-output', 'first', '-o', 'none'], {
        cwd: scratch,
      });
      expect(refused.status).toBe(1);
      expect(refused.stderr).toContain('error[LOSS_UNREACHED]');
      expect(refused.stderr).toContain('reached through differentiable operators: "scores"');
      expect(existsSync(join(scratch, 'none'))).toBe(false);
    }
  });

  it('training refuses a package of an earlier release that would train nothing', async () => {
    const cwd = caseFolder('package-without-gradient');
    const { status, stderr } = await loraify(
      ['train', 'package', '--data', 'rows.npz', '--steps', '5', '--batch-size', '200', '-o', 'run'],
      { cwd },
    );
    expect(status).toBe(1);
    expect(stderr).toContain('error[LOSS_UNREACHED]: the loss on output "label" has no gradient for any layer');
    expect(existsSync(join(cwd, 'run'))).toBe(false);
  });

  it('the label of a scikit-learn classifier is not trained on', async () => {
    const cwd = caseFolder('sklearn-label-first-output');
    const { stdout } = await loraify(['inspect', 'mlp.onnx', '--json'], { cwd });
    expect(JSON.parse(stdout).loss).toMatchObject({ kind: 'cross-entropy', output: 'probabilities' });
  });
});

describe('labels of tokens', () => {
  it('of a decoder with an encoder are shifted in the data', async () => {
    const cwd = caseFolder('seq2seq-label-shift');
    const data = ['--data', 'rows.jsonl', '--batch-size', '3'];
    await loraify(['decoder.onnx', '-r', '2', '-o', 'p'], { cwd });
    const right = await loraify(['eval', 'p', ...data, '--json'], { cwd });
    expect(JSON.parse(right.stdout).loss).toBeCloseTo(4.6978, 4);
    expect(JSON.parse(right.stdout).warnings).toBeUndefined();

    await loraify(['decoder.onnx', '-r', '2', '--loss', 'causal-lm', '-o', 'q'], { cwd });
    const twice = await loraify(['eval', 'q', ...data, '--json'], { cwd });
    const text = 'the labels are "input_ids" shifted by one already, and the loss causal-lm shifts them once more';
    expect(twice.stderr).toContain(text);
    expect(JSON.parse(twice.stdout)).toMatchObject({ warnings: [expect.stringContaining(text)] });
    const trained = await loraify(['train', 'q', ...data, '--steps', '1', '-o', 'run'], { cwd });
    expect(trained.stderr).toContain(text);
  });

  it('equal to the tokens are an error of the data where the loss does not shift', async () => {
    const cwd = caseFolder('auto-exports');
    const rows = [
      [5, 6, 7, 8, 9, 10],
      [11, 4, 3, 20, 21, 22],
    ];
    const write = (name: string, labels: (ids: readonly number[]) => number[]): void =>
      writeFileSync(
        join(cwd, name),
        rows.map((ids) => `${JSON.stringify({ input_ids: ids, labels: labels(ids) })}\n`).join(''),
      );
    write('copied.jsonl', (ids) => [...ids]);
    write('masked.jsonl', (ids) => ids.map((t, i) => (i === 2 ? t + 1 : -100)));
    await loraify(['bert.onnx', '-r', '2', '-o', 'p'], { cwd });
    const copied = await loraify(['eval', 'p', '--data', 'copied.jsonl'], { cwd });
    expect(copied.stderr).toContain('the labels equal "input_ids" wherever they count');
    const masked = await loraify(['eval', 'p', '--data', 'masked.jsonl'], { cwd });
    expect(masked.status, masked.stderr).toBe(0);
    expect(masked.stderr).not.toContain('labels');

    await loraify(['opt.onnx', '-r', '2', '-o', 'q'], { cwd });
    const own = await loraify(['eval', 'q', '--data', 'copied.jsonl'], { cwd });
    expect(own.status, own.stderr).toBe(0);
    expect(own.stderr).not.toContain('labels');
    await loraify(['opt.onnx', '-r', '2', '--loss', 'cross-entropy', '-o', 'r'], { cwd });
    const repeated = await loraify(['eval', 'r', '--data', 'copied.jsonl'], { cwd });
    expect(repeated.stderr).toContain('the labels equal "input_ids", so the model learns to repeat its input');
  });
});
