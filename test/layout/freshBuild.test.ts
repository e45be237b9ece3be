/** The project `system` starts dist/: when it is built anew, and by which of several runs. */
import { mkdirSync, mkdtempSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { beforeEach, describe, expect, it } from 'vitest';
import { freshBuild, outdated } from '../support/freshBuild.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const scratch = temporaryFolder();
let root = '';

/** Writes a file of the repository, modified at this second. */
function write(file: string, second: number): void {
  mkdirSync(dirname(join(root, file)), { recursive: true });
  writeFileSync(join(root, file), '');
  touch(file, second);
}

const touch = (path: string, second: number): void => utimesSync(join(root, path), second, second);

const sources = ['src/index.ts', 'src/runtime/worker/executor.ts', 'scripts/bundle.mjs', 'tsconfig.build.json'];
const outputs = ['dist/index.js', 'dist/bin/loraify.js', 'dist/web/adapter.js', 'dist/manifest.schema.json'];

beforeEach(() => {
  root = mkdtempSync(join(scratch, 'root-'));
  for (const file of sources) write(file, 100);
  for (const folder of ['src/runtime/worker', 'src/runtime', 'src']) touch(folder, 100);
  for (const file of outputs) write(file, 200);
});

describe('dist/', () => {
  it('is fresh where every output is newer than every source', () => {
    expect(outdated(root)).toBeUndefined();
  });

  it.each(outputs)('is outdated without %s', (file) => {
    rmSync(join(root, file));
    expect(outdated(root)).toBe(`${file} is missing`);
  });

  it.each(sources)('is outdated where %s is newer', (file) => {
    touch(file, 300);
    expect(outdated(root)).toBe(`dist/ is older than ${file}`);
  });

  it.each(outputs)('is outdated where a build ended before %s was written', (file) => {
    touch('src/index.ts', 150);
    expect(outdated(root)).toBeUndefined();
    touch(file, 120);
    expect(outdated(root)).toBe('dist/ is older than src/index.ts');
  });

  it('is outdated where a source was renamed, which keeps its time', () => {
    renameSync(join(root, 'src/runtime/worker/executor.ts'), join(root, 'src/runtime/worker/steps.ts'));
    expect(outdated(root)).toBe('dist/ is older than src/runtime/worker');
  });
});

describe('freshBuild', () => {
  /** Takes a while, as a build does. */
  async function built(): Promise<void> {
    await setTimeout(50);
    for (const file of outputs) write(file, Date.now() / 1000 + 1);
  }

  it('builds nothing where dist/ is fresh', async () => {
    const reasons: string[] = [];
    await freshBuild(root, async (reason) => void reasons.push(reason));
    expect(reasons).toEqual([]);
  });

  it('of two runs at once one builds', async () => {
    touch('src/index.ts', 300);
    const reasons: string[] = [];
    const build = async (reason: string): Promise<void> => {
      reasons.push(reason);
      await built();
    };
    await Promise.all([freshBuild(root, build), freshBuild(root, build)]);
    expect(reasons).toEqual(['dist/ is older than src/index.ts']);
    expect(outdated(root)).toBeUndefined();
  });

  it('is outdated again where a source changes during the build', async () => {
    touch('src/index.ts', 300);
    await freshBuild(root, async () => {
      await setTimeout(20);
      touch('src/index.ts', Date.now() / 1000);
      await built();
    });
    expect(outdated(root)).toBe('dist/ is older than src/index.ts');
  });

  it('fails with one sentence, and leaves the lock free', async () => {
    touch('src/index.ts', 300);
    const build = async (): Promise<void> => {
      throw new Error("\nsrc/index.ts(1,7): error TS2322: Type 'string' is not assignable to type 'number'.\nmore\n");
    };
    const sentence =
      "dist/ is older than src/index.ts, and `npm run build` fails: src/index.ts(1,7): error TS2322: Type 'string' is not " +
      "assignable to type 'number'.";
    await expect(freshBuild(root, build)).rejects.toThrow(new Error(sentence));
    await expect(freshBuild(root, build)).rejects.toThrow(new Error(sentence));
  });
});
