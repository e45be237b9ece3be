/** Files of versions and forms that ONNX Runtime loads, or that tools write which are newer than it. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { caseFolder } from '../support/caseFolder.ts';
import { loraify } from '../support/runCli.ts';

const x = new Tensor(
  'float32',
  Float32Array.from({ length: 8 }, (_, i) => Math.sin(i)),
  [2, 4],
);

async function outputs(model: string | Uint8Array): Promise<number[]> {
  const options = { logSeverityLevel: 4 } as const;
  const session = await (typeof model === 'string'
    ? InferenceSession.create(model, options)
    : InferenceSession.create(model, options));
  const { y } = await session.run({ x });
  return Array.from(y?.data as Float32Array);
}

const isStart = expect.stringContaining('the adapter is the start of the package');

/** Compiles and merges a model in `cwd`; returns what the merge printed. */
async function merged(cwd: string, model: string): Promise<{ error: number; warnings: readonly string[] }> {
  expect(await loraify([model, '-r', '2', '--loss', 'mse', '--quiet', '-o', 'p'], { cwd })).toMatchObject({
    status: 0,
  });
  for (const graph of ['model', 'train', 'train_k', 'eval', 'grad', 'update'])
    await InferenceSession.create(join(cwd, 'p', `${graph}.onnx`), { logSeverityLevel: 4 });
  const { status, stdout } = await loraify(['merge', 'p', '--adapter', 'start', '-o', 'm.onnx', '--json'], { cwd });
  expect(status).toBe(0);
  return JSON.parse(stdout);
}

describe('what-onnx-runtime-loads', () => {
  const folder = caseFolder('what-onnx-runtime-loads');
  for (const model of readdirSync(folder).filter((f) => f.endsWith('.onnx')))
    it(model, async () => {
      const cwd = caseFolder('what-onnx-runtime-loads');
      const expected = await outputs(join(cwd, model));
      expect(await merged(cwd, model)).toMatchObject({ error: 0, warnings: [isStart] });
      expect(await outputs(join(cwd, 'm.onnx'))).toEqual(expected);
      expect(await outputs(join(cwd, 'p/model.onnx'))).toEqual(expected);
    });
});

it('ir-version-14: read; graphs are written for ONNX Runtime, and a merge keeps the version and is verified', async () => {
  const cwd = caseFolder('ir-version-14');
  const { error, warnings } = await merged(cwd, 'model.onnx');
  expect([error, warnings]).toEqual([0, [isStart, expect.stringContaining('IR version 14, as its source')]]);
  expect(readdirSync(cwd)).not.toContain('m.onnx.verified');
  const own = readFileSync(join(cwd, 'm.onnx'));
  expect(own.subarray(0, 2)).toEqual(Buffer.from([8, 14]));
  await expect(InferenceSession.create(own, { logSeverityLevel: 4 })).rejects.toThrow('IR version: 14');
  own[1] = 13;
  await InferenceSession.create(own, { logSeverityLevel: 4 });
});

it.each([
  ['IR 15', [8, 15], /IR version 15 [\s\S]*m\.ir_version = 13/],
  ['IR 0', [8, 0], /IR version 0 [\s\S]*export the model again/],
] as const)('%s is refused with the way out', async (_, head, message) => {
  const cwd = caseFolder('ir-version-14');
  const bytes = readFileSync(join(cwd, 'model.onnx'));
  writeFileSync(join(cwd, 'new.onnx'), Buffer.concat([Buffer.from(head), bytes.subarray(2)]));
  const { status, stderr } = await loraify(['new.onnx', '-r', '2', '-o', 'p'], { cwd });
  expect([status, stderr]).toEqual([1, expect.stringMatching(message)]);
});

it.each([
  [28, /opset 28 is not between 7 and 26[\s\S]*convert_version\(onnx\.load\(FILE\), 26\)/],
  [6, /opset 6 is not between 7 and 26[\s\S]*convert_version\(onnx\.load\(FILE\), 18\)/],
] as const)('opset %i is refused with the way out', async (opset, message) => {
  const cwd = caseFolder('ir-version-14');
  const bytes = readFileSync(join(cwd, 'model.onnx'));
  const at = bytes.lastIndexOf(Buffer.from([16, 26]));
  bytes[at + 1] = opset;
  writeFileSync(join(cwd, 'new.onnx'), bytes);
  const { status, stderr } = await loraify(['new.onnx', '-r', '2', '-o', 'p'], { cwd });
  expect([status, stderr]).toEqual([1, expect.stringMatching(message)]);
});
