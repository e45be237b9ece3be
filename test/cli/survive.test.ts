/** Runs as processes: killed again and again, and on disks that are full or read-only. scripts/kill-runs.mjs does the first at length. */
import { type ChildProcess, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, watch } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { digits, digitsModel, writeJsonl } from '../digits.ts';
import { temporaryFolder } from '../temporary.ts';
import { loraify } from './run.ts';

const cwd = temporaryFolder();
const at = (...parts: readonly string[]): string => join(cwd, ...parts);
const train = ['train', 'digits.lora', '--data', 'train.jsonl', '--batch-size', '16', '--lr', '0.01', '--quiet'];
beforeAll(async () => {
  writeJsonl(at('train.jsonl'), digits(0, 100));
  await loraify([digitsModel, '-r', '4'], { cwd });
});

const optimizer = (out: string, steps: number): Buffer =>
  readFileSync(at(out, 'checkpoints', `step-${steps}`, 'optimizer.safetensors'));
const adapter = (out: string): Buffer => readFileSync(at(out, 'adapter/adapter_model.safetensors'));
const loggedSteps = (out: string): number[] =>
  readFileSync(at(out, 'log.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line).step);
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1);

/** Kills a process some milliseconds after it has begun to write its nth checkpoint. */
function killAtCheckpoint(child: ChildProcess, folder: string, nth: number, delay: number): void {
  const names = new Set<string>();
  const timer = setInterval(() => {
    if (!existsSync(folder)) return;
    clearInterval(timer);
    const watcher = watch(folder, (_, name) => {
      if (name === null || !/^\.step-.*tmp$/.test(name)) return;
      names.add(name);
      if (names.size === nth) setTimeout(() => child.kill('SIGKILL'), delay);
    });
    child.once('close', () => watcher.close());
  }, 1);
  child.once('close', () => clearInterval(timer));
}

it('killed in a row, half of the times inside the writing of a checkpoint, it ends as the uncut run', async () => {
  const steps = 300;
  const args = [...train, '--steps', String(steps), '--schedule', 'linear', '--save-every', '10', '-o'];
  expect((await loraify([...args, 'uncut'], { cwd })).status).toBe(0);
  let within = 0;
  for (let i = 0; i < 6; i++) {
    const start = (child: ChildProcess): void =>
      killAtCheckpoint(child, at('cut/checkpoints'), 3, i % 2 === 0 ? 0 : 15);
    const killed = await loraify([...args, 'cut', ...(i === 0 ? [] : ['--resume'])], { cwd, start });
    expect(killed.status).toBeNull();
    if (readdirSync(at('cut/checkpoints')).some((name) => name.startsWith('.step-'))) within++;
  }
  expect(within).toBeGreaterThan(0);
  expect(await loraify([...args, 'cut', '--resume'], { cwd })).toMatchObject({ status: 0, stderr: '' });
  expect(adapter('cut')).toEqual(adapter('uncut'));
  expect(optimizer('cut', steps)).toEqual(optimizer('uncut', steps));
  expect(loggedSteps('cut')).toEqual(upTo(steps));
  expect(readdirSync(at('cut')).toSorted()).toEqual(readdirSync(at('uncut')).toSorted());
  expect(readdirSync(at('cut/checkpoints'))).toEqual(readdirSync(at('uncut/checkpoints')));
});

describe('a disk that fills up', () => {
  const args = [...train, '--save-every', '2'];

  it('leaves the checkpoints before it: a file larger than the shell allows', async () => {
    await loraify([...args, '--steps', '12', '-o', 'large'], { cwd });
    await loraify([...args, '--steps', '4', '-o', 'limited'], { cwd });
    const before = readdirSync(at('limited'), { recursive: true }).toSorted();
    const files = before.filter((name) => /safetensors$/.test(String(name)));
    const contents = files.map((name) => readFileSync(at('limited', String(name))));
    // The adapter and the log fit into this many blocks of 512 bytes, the optimizer's state does not.
    const limited = await loraify([...args, '--steps', '12', '-o', 'limited', '--resume'], { cwd, limit: '-f 20' });
    expect(limited.stderr).toMatch(/^error\[WRITE_FAILED\]: cannot write "limited\/checkpoints\/step-6": EFBIG/);
    expect(limited.stderr).toContain('--resume');
    expect(limited.status).toBe(1);
    expect(readdirSync(at('limited'), { recursive: true }).toSorted()).toEqual(before);
    expect(files.map((name) => readFileSync(at('limited', String(name))))).toEqual(contents);
    expect((await loraify([...args, '--steps', '12', '-o', 'limited', '--resume'], { cwd })).status).toBe(0);
    expect(adapter('limited')).toEqual(adapter('large'));
    expect(loggedSteps('limited')).toEqual(upTo(12));
  });

  // A file system of its own needs the right to mount, which containers often lack.
  const mount = (...more: readonly string[]): boolean =>
    spawnSync('mount', ['-t', 'tmpfs', ...more, 'tmpfs', at('disk')]).status === 0;
  mkdirSync(at('disk'));
  const mounted = process.platform === 'linux' && mount('-o', 'size=128k');
  afterAll(() => mounted && spawnSync('umount', [at('disk')]));

  it.runIf(mounted)('leaves the checkpoints before it: a file system of 128 KiB, then a read-only one', async () => {
    await loraify([...args, '--steps', '30', '-o', 'roomy'], { cwd });
    const run = (...more: readonly string[]) =>
      loraify([...args, '--keep', '99', '--steps', '30', '-o', 'disk/run', ...more], { cwd });
    const full = await run();
    expect(full.stderr).toMatch(/^error\[WRITE_FAILED\]: cannot write "disk\/run\/.*": ENOSPC/);
    expect(full.status).toBe(1);
    const left = readdirSync(at('disk/run/checkpoints'));
    expect(left.length).toBeGreaterThan(2);
    expect(left.filter((name) => name.startsWith('.'))).toEqual([]);
    expect(await run('--resume')).toMatchObject({ status: 1, stderr: expect.stringContaining('ENOSPC') });

    mount('-o', 'remount,ro');
    const closed = await run('--resume');
    expect(closed.stderr).toMatch(/^error\[WRITE_FAILED\]: cannot write "disk\/run\/lock": EROFS/);
    const other = await loraify([...args, '-o', 'disk/other'], { cwd });
    expect(other.stderr).toMatch(/^error\[WRITE_FAILED\]: cannot write "disk\/other": EROFS/);

    mount('-o', 'remount,rw,size=4m');
    expect(readdirSync(at('disk/run/checkpoints'))).toEqual(left);
    expect(await run('--resume')).toMatchObject({ status: 0 });
    expect(adapter('disk/run')).toEqual(adapter('roomy'));
    expect(loggedSteps('disk/run')).toEqual(upTo(30));
  });
});

it('two runs into one folder: the second one is told of the first, which ends as if nothing had been', async () => {
  const args = [...train, '--steps', '400', '-o'];
  await loraify([...args, 'alone'], { cwd });
  let first: ChildProcess | undefined;
  const start = (child: ChildProcess): void => {
    first = child;
  };
  const running = loraify([...args, 'shared'], { cwd, start });
  while (!existsSync(at('shared/log.jsonl'))) await new Promise((done) => setTimeout(done, 2));
  // It must not be over before the others have started.
  first?.kill('SIGSTOP');
  for (const more of [[], ['--resume'], ['--force']]) {
    const second = await loraify([...args, 'shared', ...more], { cwd });
    expect(second.stderr).toMatch(/^error\[RUN_LOCKED\]: "shared" is in use by process \d+/);
    expect(second.status).toBe(1);
  }
  first?.kill('SIGCONT');
  expect(await running).toMatchObject({ status: 0 });
  expect(adapter('shared')).toEqual(adapter('alone'));
});
