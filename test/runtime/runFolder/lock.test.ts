import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { lock } from '../../../src/runtime/runFolder/lock.ts';
import { coded } from '../../support/coded.ts';
import { temporaryFolder } from '../../support/temporaryFolder.ts';

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
    { pid: process.pid, host: hostname(), boot: 'an earlier one' },
  ]) {
    const at = folder();
    writeFileSync(join(at, 'lock'), JSON.stringify(stale));
    const held = lock(at);
    expect(JSON.parse(readFileSync(join(at, 'lock'), 'utf8'))).toMatchObject({ pid: process.pid });
    held.release();
  }
});

it.runIf(process.platform === 'linux')('is taken over from a process that ended and was never asked how', async () => {
  // The shell becomes a program that does not wait for its children.
  const parent = spawn('sh', ['-c', 'sleep 0.3 & echo $!; exec sleep 30'], { stdio: ['ignore', 'pipe', 'ignore'] });
  const [line]: unknown[] = await once(parent.stdout, 'data');
  const pid = Number(String(line).trim());
  while (!readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ')) await new Promise((done) => setTimeout(done, 5));
  const at = folder();
  writeFileSync(join(at, 'lock'), JSON.stringify({ pid, host: hostname() }));
  lock(at).release();
  parent.kill();
});

it('is placed again where a person removed it, and left to a process that took it', () => {
  const at = folder();
  const held = lock(at);
  rmSync(join(at, 'lock'));
  held.check();
  expect(() => lock(at)).toThrow(expect.toSatisfy(coded('RUN_LOCKED')));
  writeFileSync(join(at, 'lock'), JSON.stringify({ pid: 1, host: 'elsewhere' }));
  expect(() => held.check()).toThrow(expect.toSatisfy(coded('RUN_LOCKED', 'process 1 on elsewhere')));
  held.release();
  expect(existsSync(join(at, 'lock'))).toBe(true);
});

it('is taken over where its writer died over it, never from another machine', () => {
  const empty = folder();
  writeFileSync(join(empty, 'lock'), '');
  lock(empty).release();
  const remote = folder();
  writeFileSync(join(remote, 'lock'), JSON.stringify({ pid: 1, host: 'elsewhere' }));
  expect(() => lock(remote)).toThrow(expect.toSatisfy(coded('RUN_LOCKED', 'elsewhere')));
  // Nobody here can know whether that process still runs; a person can.
  expect(() => lock(remote)).toThrow(expect.objectContaining({ hint: expect.stringContaining(`delete ${remote}`) }));
});
