/** Names that exporters write for every unknown length are no symbols. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { readManifest } from '../../src/formats/manifest.ts';
import { caseFolder } from '../support/caseFolder.ts';
import { loraify } from '../support/runCli.ts';

it.each(['?', '*', '_'])('paddle-question-mark-dims, with lengths called %s', async (name) => {
  const cwd = caseFolder('paddle-question-mark-dims');
  const bytes = readFileSync(join(cwd, 'model.onnx'));
  // dim_param, one character.
  const own = Buffer.from([0x12, 1, '?'.charCodeAt(0)]);
  const other = Buffer.from([0x12, 1, name.charCodeAt(0)]);
  let count = 0;
  for (let at = bytes.indexOf(own); at >= 0; at = bytes.indexOf(own, at + 3), count++) other.copy(bytes, at);
  expect(count).toBeGreaterThan(1);
  writeFileSync(join(cwd, 'model.onnx'), bytes);
  expect(await loraify(['model.onnx', '-r', '1', '--quiet', '-o', 'p'], { cwd })).toMatchObject({ status: 0 });
  const train = ['train', 'p', '--data', 'rows.npz', '--steps', '2', '--quiet', '--json'];
  expect(await loraify(train, { cwd })).toMatchObject({ status: 0, stderr: '' });
  expect(readManifest(join(cwd, 'p'))).toMatchObject({
    inputs: [{ shape: ['x_0', 3, 'x_2', 'x_3'] }],
    labels: { shape: ['x_0'] },
  });
  // The adapted model keeps the names of its source.
  expect(readFileSync(join(cwd, 'p/model.onnx')).includes(other)).toBe(true);
});
