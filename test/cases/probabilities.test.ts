/**
 * Losses of logits on outputs that are probabilities: their value and metrics are those that torch and scikit-learn
 * compute of the output (fixtures/cases/probability-outputs/make.py, sklearn-pipelines/make.py).
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { readManifest } from '../../src/formats/manifest.ts';
import { lossKinds } from '../../src/graph/choices/losses.ts';
import { compile, evaluate } from '../../src/index.ts';
import { caseFolder, cases } from '../support/caseFolder.ts';
import { loraify } from '../support/runCli.ts';

const number = z.number();
function expectedOf<T>(name: string, entry: z.ZodType<T>): [string, T][] {
  const text = readFileSync(join(cases, name, 'expected.json'), 'utf8');
  return Object.entries(z.record(z.string(), entry).parse(JSON.parse(text)));
}

const outputs = expectedOf(
  'probability-outputs',
  z.object({ loss: number.nullable(), acc: number, args: z.array(z.string()) }),
);

describe('the loss of an output that is a probability', () => {
  const cwd = caseFolder('probability-outputs');
  it.each(outputs)('%s', async (name, { loss, acc, args: [, asked] }) => {
    const kind = lossKinds.find((k) => k === asked);
    const { dir, manifest, warnings } = await compile(join(cwd, `${name}.onnx`), {
      rank: 2,
      out: join(cwd, name),
      emit: ['model', 'eval', 'grad'],
      ...(kind === undefined ? {} : { loss: kind }),
    });
    const found = await evaluate(dir, { data: join(cwd, `${name}.npz`), batchSize: 5 });
    if (loss !== null) expect(found.loss).toBeCloseTo(loss, 4);
    expect(found.accuracy).toBeCloseTo(acc, 6);
    expect(manifest.loss?.chosen).not.toBe('as requested');
    const open = ['sm_part', 'sigce', 'clipce'].includes(name);
    expect(warnings.some((w) => w.includes('need not have the sum 1'))).toBe(open);
  });
});

describe('scikit-learn pipelines', () => {
  const cwd = caseFolder('sklearn-pipelines');
  it.each(expectedOf('sklearn-pipelines', z.object({ loss: number, accuracy: number })))(
    '%s',
    async (name, { loss, accuracy }) => {
      const { dir } = await compile(join(cwd, `${name}.onnx`), {
        rank: 2,
        out: join(cwd, name),
        emit: ['model', 'eval', 'grad'],
      });
      const found = await evaluate(dir, { data: join(cwd, `${name}.npz`) });
      expect(found.loss).toBeCloseTo(loss, 5);
      // The only output beside maps of text is text.
      if (name === 'text-zipmap') expect(found.accuracy).toBeUndefined();
      else expect(found.accuracy).toBeCloseTo(accuracy, 6);
    },
  );

  it('predicts the numbers of maps, and leaves text out', async () => {
    const compiled = await loraify(['text-zipmap.onnx', '-r', '2', '-o', 'p', '--quiet'], { cwd });
    expect(compiled.status, compiled.stderr).toBe(0);
    const { status, stderr, stdout } = await loraify(['predict', 'p', '--data', 'text-zipmap.npz', '-o', 'o.npz'], {
      cwd,
    });
    expect(status, stderr).toBe(0);
    expect(stderr).toContain('left out, text or not one entry per row: output_label');
    expect(stdout).toContain('output_probability for 60 rows');
  });
});

describe('kinds that were answered wrongly', () => {
  it('bce-on-probability: the loss, accuracy and F1 of the twin without a Sigmoid', async () => {
    const cwd = caseFolder('bce-on-probability');
    for (const [model, data] of [
      ['sigmoid', 'rows_n1'],
      ['sigmoid_squeeze', 'rows_n'],
    ]) {
      const compiled = await loraify([`${model}.onnx`, '-r', '2', '--loss', 'bce', '--quiet', '-o', `${model}`], {
        cwd,
      });
      expect(compiled.status, compiled.stderr).toBe(0);
      const { stdout } = await loraify(['eval', `${model}`, '--data', `${data}.npz`, '--quiet'], { cwd });
      expect(stdout).toContain('loss 1.5069, accuracy 47.50 %, F1 0.36364');
    }
  });

  it('sklearn-label-first-output: cross-entropy 1.2239, accuracy 41 %, and a loss that falls', async () => {
    const cwd = caseFolder('sklearn-label-first-output');
    const compiled = await loraify(['mlp.onnx', '-r', '2', '-o', 'p'], { cwd });
    expect(compiled.stdout).toContain('cross-entropy on "add_result1" (auto: "probabilities" comes from Softmax');
    const { stdout } = await loraify(['eval', 'p', '--data', 'rows.npz', '--quiet'], { cwd });
    expect(stdout).toContain('loss 1.2239, accuracy 41.00 %');
    const steps = ['--steps', '5', '--batch-size', '200', '--no-shuffle', '--lr', '0.05'];
    const trained = await loraify(['train', 'p', '--data', 'rows.npz', ...steps, '-o', 'run'], { cwd });
    expect(trained.status, trained.stderr).toBe(0);
    const losses = readFileSync(join(cwd, 'run/log.jsonl'), 'utf8').match(/"loss":[\d.]+/g) ?? [];
    const [first, last] = [losses[0], losses.at(-1)].map((text) => Number(text?.split(':')[1]));
    expect(first).toBeCloseTo(1.2239, 4);
    expect(last).toBeLessThan(1.2);
  });

  it('sklearn-scaler-rank: the rank behind a Scaler is known', async () => {
    const cwd = caseFolder('sklearn-scaler-rank');
    const { status, stderr } = await loraify(['mlp.onnx', '-r', '2', '--loss-output', 'probabilities', '-o', 'p'], {
      cwd,
    });
    expect(status, stderr).toBe(0);
    expect(readManifest(join(cwd, 'p'))).toMatchObject({
      loss: { kind: 'cross-entropy', tensor: 'add_result1', classes: 3 },
    });
  });

  it('loss-options-ignored: class weights are pos_weight of bce, and options of other losses are refused', async () => {
    const cwd = caseFolder('loss-options-ignored');
    const lossOf = async (...args: string[]): Promise<string> => {
      const compiled = await loraify(['tab.onnx', '-r', '2', '--quiet', '-o', 'b', '--force', ...args], { cwd });
      expect(compiled.status, compiled.stderr).toBe(0);
      return (await loraify(['eval', 'b', '--data', 'rows.npz', '--quiet'], { cwd })).stdout;
    };
    const bce = ['--loss', 'bce'];
    expect(await lossOf(...bce)).toContain('loss 1.9938');
    expect(await lossOf(...bce, '--class-weights', 'weights.json')).toContain('loss 2.3782');
    expect(await lossOf(...bce, '--label-smoothing', '0.1')).toContain('loss 1.9567');
    expect(await lossOf(...bce, '--class-weights', 'weights.json', '--label-smoothing', '0.1')).toContain(
      'loss 2.3295',
    );
    for (const [kind, option, value] of [
      ['mse', '--class-weights', 'weights.json'],
      ['mse', '--ignore-index', '0'],
      ['l1', '--label-smoothing', '0.1'],
      ['huber', '--class-axis', '1'],
      ['bce', '--ignore-index', '0'],
      ['bce', '--class-axis', '1'],
    ] as const) {
      const { status, stderr } = await loraify(['tab.onnx', '-r', '2', '--loss', kind, option, value, '-o', 'c'], {
        cwd,
      });
      expect([status, stderr], `${kind} ${option}`).toEqual([1, expect.stringContaining('error[BAD_OPTION]')]);
    }
  });
});

describe('places that are refused', () => {
  const cwd = caseFolder('probability-outputs');
  const stderrOf = async (...args: string[]) =>
    (await loraify([...args, '-r', '2', '-o', 'x', '--force'], { cwd })).stderr;

  it('another class axis than that of the softmax', async () => {
    expect(await stderrOf('sm_ax1.onnx', '--class-axis', '2')).toMatch(
      /BAD_LOSS.*along axis 1: leave --class-axis out/,
    );
  });

  it('a number of weights that no column has', async () => {
    const { compile: run } = await import('../../src/index.ts');
    await expect(
      run(join(cwd, 'sig_exp.onnx'), { rank: 2, loss: 'bce', classWeights: [1, 2, 3], out: join(cwd, 'y') }),
    ).rejects.toMatchObject({ code: 'BAD_LOSS' });
  });
});
