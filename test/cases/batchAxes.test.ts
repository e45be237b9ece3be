/** Batches along another axis than the first, models without one, and inputs that all rows share. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { manifestName } from '../../src/formats/manifest.ts';
import { caseFolder } from '../support/caseFolder.ts';
import { loraify } from '../support/runCli.ts';

/** The JSON document of a command that succeeds. */
async function json(args: readonly string[], cwd: string): Promise<Record<string, unknown>> {
  const { stdout, stderr, status } = await loraify([...args, '--json'], { cwd });
  expect({ status, stderr: status === 0 ? '' : stderr }).toEqual({ status: 0, stderr: '' });
  // A training run writes JSON Lines, the result last.
  return JSON.parse(args[0] === 'train' ? (stdout.trim().split('\n').at(-1) ?? '{}') : stdout);
}

const predictions = (cwd: string): Record<string, unknown>[] =>
  readFileSync(join(cwd, 'o.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));

describe('a time-major model', () => {
  let cwd = '';
  beforeAll(async () => {
    cwd = caseFolder('time-major-batch');
    await json(['model.onnx', '-r', '2', '-o', 'p'], cwd);
  });

  it('declares the axis of rows', () => {
    const { inputs, labels } = JSON.parse(readFileSync(join(cwd, 'p', manifestName), 'utf8'));
    expect(inputs[0].batchAxis).toBe(1);
    expect(labels.batchAxis).toBeUndefined();
  });

  it.each([1, 2, 4, 6])('has the same loss for batches of %i', async (size) => {
    const found = await json(['eval', 'p', '--data', 'rows.jsonl', '--batch-size', `${size}`], cwd);
    expect(found).toMatchObject({ examples: 6, accuracy: 0.5 });
    expect(found.loss).toBeCloseTo(1.1754, 4);
  });

  it('trains equally on one batch and on accumulated ones, with a fixed batch too', async () => {
    const run = ['train', 'p', '--data', 'rows.jsonl', '--steps', '3', '--no-shuffle', '--lr', '0.01', '--force'];
    const whole = await json([...run, '--batch-size', '6'], cwd);
    const parts = await json([...run, '--batch-size', '2', '--grad-accum', '3'], cwd);
    const { loss } = Object(whole.result);
    expect(Object(parts.result).loss).toBeCloseTo(loss, 5);
    await json(['model.onnx', '-r', '2', '-o', 'f', '--batch', '4'], cwd);
    const filled = ['train', 'f', ...run.slice(2)];
    const fixed = await json([...filled, '--batch-size', '4', '--grad-accum', '2'], cwd);
    expect(Object(fixed.result).loss).toBeCloseTo(loss, 5);
  });

  it('predicts row by row', async () => {
    await json(['predict', 'p', '--data', 'rows.jsonl', '-o', 'o.jsonl'], cwd);
    const all = predictions(cwd);
    await json(['predict', 'p', '--data', 'rows.jsonl', '--batch-size', '1', '-o', 'o.jsonl', '--force'], cwd);
    expect(all).toHaveLength(6);
    for (const [i, row] of predictions(cwd).entries())
      for (const [j, value] of Object(row.logits).entries()) expect(Object(all[i]).logits[j]).toBeCloseTo(value, 5);
  });

  it('can be told otherwise', async () => {
    const none = await loraify(['model.onnx', '-o', 'q', '--batch-axis', 'x=7'], { cwd });
    expect(none.stderr).toMatch(/error\[BAD_OPTION\].*"x" \[seq, batch, 4\] has no such axis/);
    const lost = await loraify(['model.onnx', '-o', 'q', '--batch-axis', 'x=0'], { cwd });
    expect(lost.stderr).toMatch(/error\[BATCH_AXIS\].*\[batch\] have no batch axis/);
    await json(['model.onnx', '-r', '2', '-o', 'q', '--batch-axis', 'x=none'], cwd);
  });
});

describe('a model without a batch axis', () => {
  let cwd = '';
  beforeAll(async () => {
    cwd = caseFolder('no-batch-axis');
    await json(['model.onnx', '-r', '2', '--loss', 'mse', '--loss-output', 'output', '-o', 'p'], cwd);
  });

  it('accumulates the rows of a batch', async () => {
    const run = ['train', 'p', '--data', 'rows.npz', '--steps', '2', '--no-shuffle', '--lr', '0.01', '--force'];
    const one = await json([...run, '--batch-size', '6'], cwd);
    const other = await json([...run, '--batch-size', '1', '--grad-accum', '6'], cwd);
    expect(Object(one.result).loss).toBe(Object(other.result).loss);
    const start = await json(['eval', 'p', '--adapter', 'start', '--data', 'rows.npz'], cwd);
    expect(start).toMatchObject({ examples: 6, weight: 360 });
    expect(Object(one.result).loss).toBeLessThan(Number(start.loss));
  });

  it('predicts all outputs', async () => {
    await json(['predict', 'p', '--data', 'rows.npz', '-o', 'o.jsonl'], cwd);
    const [row] = predictions(cwd);
    expect(Object.keys(row ?? {})).toEqual(['output', 'output_surface']);
    expect(Object(row).output_surface).toHaveLength(4);
  });

  it('says so in the summary', async () => {
    const { stdout } = await loraify(['model.onnx', '--loss', 'mse', '--loss-output', 'output', '--dry-run'], { cwd });
    expect(stdout).toContain('each row is one run');
  });
});
