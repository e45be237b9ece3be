import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { lock } from '../../src/runtime/lock.ts';
import { coded, temporaryFolder } from '../temporary.ts';

const root = temporaryFolder();
let folders = 0;

function folder(): string {
  const path = join(root, String(folders++));
  mkdirSync(path);
  return path;
}

it('is held once and can be taken again after its release', () => {
  const at = folder();
  const held = lock(at);
  expect(() => lock(at)).toThrow(expect.toSatisfy(coded('RUN_LOCKED', `process ${process.pid}`)));
  held.release();
  expect(existsSync(join(at, 'lock'))).toBe(false);
  lock(at).release();
});

it('is taken over from a process that ended, and from one that got a number used again', () => {
  const { pid } = spawnSync(process.execPath, ['-e', '']);
  for (const stale of [
    { pid, host: hostname() },
    { pid: process.pid, host: hostname(), began: '1' },
  ]) {
    const at = folder();
    writeFileSync(join(at, 'lock'), JSON.stringify(stale));
    const held = lock(at);
    expect(JSON.parse(readFileSync(join(at, 'lock'), 'utf8'))).toMatchObject({ pid: process.pid });
    held.release();
  }
});

it('is taken over where its writer died over it, never from another machine', () => {
  const empty = folder();
  writeFileSync(join(empty, 'lock'), '');
  lock(empty).release();
  const remote = folder();
  writeFileSync(join(remote, 'lock'), JSON.stringify({ pid: 1, host: 'elsewhere' }));
  expect(() => lock(remote)).toThrow(expect.toSatisfy(coded('RUN_LOCKED', 'elsewhere')));
});
