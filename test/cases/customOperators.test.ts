/** Operators of a library that ONNX Runtime does not have. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { caseFolder } from '../support/caseFolder.ts';
import { loraify } from '../support/runCli.ts';

it('custom-op-library: refused by a compile, by name; model.onnx alone is written for runtimes that have it', async () => {
  const cwd = caseFolder('custom-op-library');
  const args = ['cust.onnx', '-r', '2', '--target', 'out', '--quiet', '-o', 'p'];
  const { status, stderr } = await loraify(args, { cwd });
  expect([status, stderr]).toEqual([
    1,
    expect.stringContaining('error[CUSTOM_OPERATOR]: my.ops.MyNorm, my.ops.MyAct are no'),
  ]);
  expect(stderr).toContain('--emit model');
  expect(existsSync(join(cwd, 'p'))).toBe(false);
  expect(await loraify([...args, '--emit', 'model'], { cwd })).toMatchObject({ status: 0 });
  expect(readFileSync(join(cwd, 'p/model.onnx')).includes('MyNorm')).toBe(true);
});
