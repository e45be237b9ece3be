import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { caseFolder } from '../support/caseFolder.ts';
import { loraify } from '../support/runCli.ts';

const manifest = z.object({
  inputs: z.array(z.object({ name: z.string(), shape: z.array(z.unknown()) })),
  labels: z.object({ shape: z.array(z.unknown()) }),
});

it('past-values-bound-empty: the series of a forecasting model is its data', async () => {
  const cwd = caseFolder('past-values-bound-empty');
  const { status, stderr } = await loraify(['model.onnx', '-r', '4', '-a', '8', '-o', 'x.lora', '--force'], { cwd });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const { inputs, labels } = manifest.parse(JSON.parse(readFileSync(join(cwd, 'x.lora/loraify.json'), 'utf8')));
  expect(inputs).toEqual([{ name: 'past_values', shape: ['batch', 24, 4] }]);
  expect(labels.shape).toEqual(['batch', 24, 4]);
});
