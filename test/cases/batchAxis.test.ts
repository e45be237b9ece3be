/** The axis that counts rows: time-major models against PyTorch's losses, and models without a batch axis. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { readManifest } from '../../src/formats/manifest.ts';
import { caseFolder, cases } from '../support/caseFolder.ts';
import { loraify } from '../support/runCli.ts';

const metrics = z.object({ loss: z.number(), accuracy: z.number().optional(), examples: z.number() });
const expected = z
  .record(z.string(), z.object({ loss: z.number(), accuracy: z.number() }))
  .parse(JSON.parse(readFileSync(join(cases, 'time-major-torch/expected.json'), 'utf8')));

async function ran(cwd: string, args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await loraify([...args], { cwd });
  expect(status, stderr).toBe(0);
  return stdout;
}

/** Loss and metrics at the start of training. */
const evaluated = async (cwd: string, data: string, size: number): Promise<z.infer<typeof metrics>> =>
  metrics.parse(JSON.parse(await ran(cwd, ['eval', 'p', '--data', data, '--batch-size', `${size}`, '--json'])));

describe('rows of time-major models', () => {
  // As many rows as steps: exchanged axes would fit.
  it.each(Object.keys(expected))('%s has the loss of PyTorch', async (name) => {
    const cwd = caseFolder('time-major-torch');
    await ran(cwd, [`${name}.onnx`, '-r', '2', '--loss', 'cross-entropy', '-o', 'p']);
    const { inputs, labels } = readManifest(join(cwd, 'p'));
    const isTimeMajor = name.includes('-time-');
    expect(inputs[0]?.batchAxis).toBe(isTimeMajor ? 1 : undefined);
    expect(labels?.batchAxis).toBe(isTimeMajor && name.endsWith('-all') ? 1 : undefined);
    // The last batch of 2 has one row.
    for (const size of [2, 5]) {
      const { loss, accuracy } = await evaluated(cwd, `${name}.jsonl`, size);
      expect(loss).toBeCloseTo(expected[name]?.loss ?? Number.NaN, 5);
      expect(accuracy).toBeCloseTo(expected[name]?.accuracy ?? Number.NaN, 6);
    }
  });

  it('have predictions per row that do not depend on the batch size', async () => {
    const cwd = caseFolder('time-major-torch');
    await ran(cwd, ['lstm-time-all.onnx', '-r', '2', '--loss', 'cross-entropy', '-o', 'p']);
    const predicted = async (size: number): Promise<string> => {
      await ran(cwd, [
        'predict',
        'p',
        '--data',
        'lstm-time-all.jsonl',
        '--batch-size',
        `${size}`,
        '-o',
        `${size}.jsonl`,
      ]);
      return readFileSync(join(cwd, `${size}.jsonl`), 'utf8');
    };
    const lines = z
      .array(z.object({ logits: z.array(z.array(z.number()).length(3)).length(5) }))
      .length(5)
      .parse(
        (await predicted(5))
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line)),
      );
    const alone = (await predicted(1))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    for (const [i, { logits }] of lines.entries())
      for (const [t, scores] of logits.entries())
        for (const [c, score] of scores.entries()) expect(score).toBeCloseTo(alone[i].logits[t][c], 5);
  });
});

describe('models without a batch axis', () => {
  const compiled = async (): Promise<string> => {
    const cwd = caseFolder('no-batch-axis');
    await ran(cwd, ['model.onnx', '-r', '2', '--loss', 'mse', '--loss-output', 'output', '-o', 'p']);
    return cwd;
  };

  it('are evaluated one row a run', async () => {
    const cwd = await compiled();
    const { inputs, labels } = readManifest(join(cwd, 'p'));
    expect([...inputs, labels].map((v) => v?.batchAxis)).toEqual([null, null, null]);
    // ONNX Runtime on the source: the mean over the six samples.
    for (const size of [1, 4]) expect((await evaluated(cwd, 'rows.npz', size)).loss).toBeCloseTo(0.35444093, 6);
  });

  it('train on the accumulated gradients of --batch-size rows', async () => {
    const cwd = await compiled();
    const how = ['--data', 'rows.npz', '--no-shuffle', '--lr', '0.01', '--steps', '3', '--quiet'];
    await ran(cwd, ['train', 'p', ...how, '--batch-size', '4', '-o', 'a']);
    await ran(cwd, ['train', 'p', ...how, '--batch-size', '1', '--grad-accum', '4', '-o', 'b']);
    await ran(cwd, ['train', 'p', ...how, '--batch-size', '1', '-o', 'c']);
    const [a, b, c] = ['a', 'b', 'c'].map((run) => readFileSync(join(cwd, run, 'adapter/adapter_model.safetensors')));
    expect(a).toEqual(b);
    expect(a).not.toEqual(c);
  });
});
