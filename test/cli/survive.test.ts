/** Runs as processes: killed again and again, and on disks that are full or read-only. scripts/kill-runs.mjs does the first at length. */
import { type ChildProcess, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, watch } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { digits, digitsModel, writeJsonl } from '../support/digits.ts';
import { loraify } from '../support/runCli.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const cwd = temporaryFolder();
const at = (...parts: readonly string[]): string => join(cwd, ...parts);
const steps = 300;
const train = [
  ...['train', 'digits.lora', '--data', 'train.jsonl', '--batch-size', '16', '--lr', '0.01', '--save-every', '10'],
  ...['--steps', String(steps), '--quiet', '-o'],
];
beforeAll(async () => {
  writeJsonl(at('train.jsonl'), digits(0, 100));
  await loraify([digitsModel, '-r', '4'], { cwd });
  expect((await loraify([...train, 'uncut'], { cwd })).status).toBe(0);
});

const adapter = (out: string): Buffer => readFileSync(at(out, 'adapter/adapter_model.safetensors'));

/** That a run ended as the one that nothing happened to. */
function expectAsUncut(out: string): void {
  const optimizer = (run: string): Buffer =>
    readFileSync(at(run, 'checkpoints', `step-${steps}`, 'optimizer.safetensors'));
  expect(adapter(out)).toEqual(adapter('uncut'));
  expect(optimizer(out)).toEqual(optimizer('uncut'));
  const lines = readFileSync(at(out, 'log.jsonl'), 'utf8').trimEnd().split('\n');
  expect(lines.map((line) => JSON.parse(line).step)).toEqual(Array.from({ length: steps }, (_, i) => i + 1));
  expect(readdirSync(at(out)).toSorted()).toEqual(readdirSync(at('uncut')).toSorted());
}

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

it('killed in a row while checkpoints are written, or a few steps later, it ends as the uncut run', async () => {
  for (let i = 0; i < 4; i++) {
    const start = (child: ChildProcess): void =>
      killAtCheckpoint(child, at('cut/checkpoints'), 3, i % 2 === 0 ? 0 : 15);
    const killed = await loraify([...train, 'cut', ...(i === 0 ? [] : ['--resume'])], { cwd, start });
    expect(killed.status).toBeNull();
  }
  expect(await loraify([...train, 'cut', '--resume'], { cwd })).toMatchObject({ status: 0, stderr: '' });
  expectAsUncut('cut');
  expect(readdirSync(at('cut/checkpoints'))).toEqual(readdirSync(at('uncut/checkpoints')));
});

describe('a disk that fills up', () => {
  it('leaves the checkpoints before it: a file larger than the shell allows', async () => {
    await loraify([...train, 'limited', '--steps', '20'], { cwd });
    const before = readdirSync(at('limited'), { recursive: true }).toSorted();
    const files = before.filter((name) => /safetensors$/.test(String(name)));
    const contents = files.map((name) => readFileSync(at('limited', String(name))));
    // The adapter and the log fit into this many blocks of 512 bytes, the optimizer's state does not.
    const limited = await loraify([...train, 'limited', '--resume'], { cwd, limit: '-f 20' });
    expect(limited.stderr).toMatch(/^error\[WRITE_FAILED\]: cannot write "limited\/checkpoints\/step-30": EFBIG/);
    expect(limited.stderr).toContain('--resume');
    expect(limited.status).toBe(1);
    expect(readdirSync(at('limited'), { recursive: true }).toSorted()).toEqual(before);
    expect(files.map((name) => readFileSync(at('limited', String(name))))).toEqual(contents);
    expect((await loraify([...train, 'limited', '--resume'], { cwd })).status).toBe(0);
    expectAsUncut('limited');
  });

  // A file system of its own needs the right to mount, which containers often lack.
  const mount = (...more: readonly string[]): boolean =>
    spawnSync('mount', ['-t', 'tmpfs', ...more, 'tmpfs', at('disk')]).status === 0;
  mkdirSync(at('disk'));
  const mounted = process.platform === 'linux' && mount('-o', 'size=128k');
  afterAll(() => mounted && spawnSync('umount', [at('disk')]));

  it.runIf(mounted)('leaves the checkpoints before it: a file system of 128 KiB, then a read-only one', async () => {
    const full = await loraify([...train, 'disk/run', '--keep', '99'], { cwd });
    expect(full.stderr).toMatch(/^error\[WRITE_FAILED\]: cannot write "disk\/run\/.*": ENOSPC/);
    expect(full.status).toBe(1);
    const left = readdirSync(at('disk/run/checkpoints'));
    expect(left.length).toBeGreaterThan(2);
    expect(left.filter((name) => name.startsWith('.'))).toEqual([]);

    mount('-o', 'remount,ro');
    const closed = await loraify([...train, 'disk/run', '--resume'], { cwd });
    expect(closed.stderr).toMatch(/^error\[WRITE_FAILED\]: cannot write "disk\/run\/lock": EROFS/);
    const other = await loraify([...train, 'disk/other'], { cwd });
    expect(other.stderr).toMatch(/^error\[WRITE_FAILED\]: cannot write "disk\/other": EROFS/);

    mount('-o', 'remount,rw,size=4m');
    expect(readdirSync(at('disk/run/checkpoints'))).toEqual(left);
    expect(await loraify([...train, 'disk/run', '--resume'], { cwd })).toMatchObject({ status: 0 });
    expectAsUncut('disk/run');
  });
});

it('two runs into one folder: the second one is told of the first, which ends as if nothing had been', async () => {
  let first: ChildProcess | undefined;
  const start = (child: ChildProcess): void => {
    first = child;
  };
  const running = loraify([...train, 'shared'], { cwd, start });
  while (!existsSync(at('shared/log.jsonl'))) await new Promise((done) => setTimeout(done, 2));
  // It must not be over before the other one has started.
  first?.kill('SIGSTOP');
  const second = await loraify([...train, 'shared', '--force'], { cwd });
  expect(second.stderr).toMatch(/^error\[RUN_LOCKED\]: "shared" is in use by process \d+/);
  expect(second.status).toBe(1);
  first?.kill('SIGCONT');
  expect(await running).toMatchObject({ status: 0 });
  expectAsUncut('shared');
});
