/** Time-major models of torch whose axes have no names or fixed sizes: what is computed independently is a batch. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { caseFolder, cases } from '../support/caseFolder.ts';
import { loraify } from '../support/runCli.ts';

const losses: Record<string, number> = JSON.parse(
  readFileSync(join(cases, 'time-major-unnamed', 'losses.json'), 'utf8'),
);

it.each(Object.entries(losses))("%s has torch's loss %f", async (name, loss) => {
  const cwd = caseFolder('time-major-unnamed');
  const options = ['-r', '2', '--target', '/.*/', '--loss', 'cross-entropy', '-o', 'p'];
  expect(await loraify([`${name}.onnx`, ...options], { cwd })).toMatchObject({ status: 0 });
  const size = name.startsWith('fix') ? [] : ['--batch-size', '3'];
  const { stdout } = await loraify(['eval', 'p', '--data', `${name}.jsonl`, '--json', ...size], { cwd });
  expect(JSON.parse(stdout).loss).toBeCloseTo(loss, 5);
});
