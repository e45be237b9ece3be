/** Outputs that cannot be written: a coded error at once, and nothing left behind. */
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { makeFolders } from '../../src/formats/files.ts';
import { caseFolder } from '../support/caseFolder.ts';
import { loraify } from '../support/runCli.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const linux = process.platform === 'linux';
const places: readonly (readonly [string, RegExp])[] = [
  ...(linux
    ? ([
        ['/proc/nowhere/out', /ENOENT[\s\S]*in a folder that this user can write/],
        ['/sys/nowhere/out', /(EPERM|EROFS|EACCES)[\s\S]*in a folder that this user can write/],
      ] as const)
    : []),
  ['model.onnx/out', /ENOTDIR[\s\S]*a part of this path is a file/],
  [`new/${'x'.repeat(300)}/out`, /ENAMETOOLONG[\s\S]*a shorter name/],
];

describe.each(places)('-o %s', (place, message) => {
  it('of every command that writes', { timeout: 60_000 }, async () => {
    const cwd = caseFolder('ir-version-14');
    await loraify(['model.onnx', '-r', '2', '--quiet', '-o', 'p'], { cwd });
    writeFileSync(join(cwd, 'rows.jsonl'), '{"x": [1, 2, 3, 4], "labels": 1}\n');
    const before = readdirSync(cwd);
    for (const args of [
      ['model.onnx', '-r', '2', '-o', place],
      ['model.onnx', '-r', '2', '-o', 'q', '--dump', place],
      ['train', 'p', '--data', 'rows.jsonl', '--steps', '1', '-o', place],
      ['merge', 'p', '--adapter', 'p/adapter', '-o', `${place}.onnx`],
      ['predict', 'p', '--data', 'rows.jsonl', '-o', `${place}.npz`],
      ['export', 'p', '--format', 'peft', '-o', place],
    ]) {
      const { status, stderr } = await loraify(args, { cwd });
      expect([status, stderr]).toEqual([1, expect.stringMatching(/error\[WRITE_FAILED\]/)]);
      expect(stderr).toMatch(message);
    }
    expect(readdirSync(cwd)).toEqual(before);
  });
});

it('folders that were made before an error are removed', () => {
  const folder = temporaryFolder();
  expect(() => makeFolders(join(folder, 'a/b', 'x'.repeat(300), 'c'))).toThrow('ENAMETOOLONG');
  expect(existsSync(join(folder, 'a'))).toBe(false);
  expect(makeFolders(join(folder, 'a/b'))).toBe(join(folder, 'a'));
  expect(makeFolders(join(folder, 'a/b'))).toBeUndefined();
});
