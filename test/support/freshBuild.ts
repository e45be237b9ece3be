/** Global setup of the project `system`: dist/ is what src/ compiles to. The check of a fresh dist/ takes milliseconds. */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { TestProject } from 'vitest/node';
import { LoraifyError } from '../../src/errors.ts';
import { type Lock, lock } from '../../src/runtime/runFolder/lock.ts';

/** What a build reads. */
const inputs = [
  'src',
  'scripts/bundle.mjs',
  'scripts/code.mjs',
  'scripts/manifest-schema.mjs',
  'tsconfig.json',
  'tsconfig.build.json',
  'package-lock.json',
];

/** One output of each step of a build, in their order: a build that failed leaves the last ones old. */
const outputs = ['dist/index.js', 'dist/bin/loraify.js', 'dist/web/adapter.js', 'dist/manifest.schema.json'] as const;

/** Why dist/ is not what the sources compile to; undefined where it is. */
export function outdated(root: string): string | undefined {
  const missing = outputs.find((file) => !existsSync(join(root, file)));
  if (missing !== undefined) return `${missing} is missing`;
  const modified = (path: string): number => statSync(join(root, path)).mtimeMs;
  const built = Math.min(...outputs.map(modified));
  // Folders count: a file that was renamed keeps its time, and one that was removed has none.
  const newer = inputs.flatMap((path) => withContents(root, path)).filter((path) => modified(path) > built);
  const first = newer.find((path) => /\.\w+$/.test(path)) ?? newer[0];
  return first === undefined ? undefined : `dist/ is older than ${first}`;
}

function withContents(root: string, path: string): string[] {
  if (!existsSync(join(root, path))) return [];
  if (!statSync(join(root, path)).isDirectory()) return [path];
  const inside = readdirSync(join(root, path), { recursive: true, encoding: 'utf8' });
  return [path, ...inside.map((file) => `${path}/${file.replaceAll('\\', '/')}`)];
}

/**
 * Calls `build` where dist/ is outdated; of several processes one builds and the others wait for it.
 * Errors: one sentence with the reason for the build and why it failed.
 */
export async function freshBuild(root: string, build: (reason: string) => Promise<void>): Promise<void> {
  if (outdated(root) === undefined) return;
  const held = await waitForLock(join(root, 'node_modules/.cache/loraify-build'));
  try {
    const reason = outdated(root);
    if (reason === undefined) return;
    const start = new Date();
    await build(reason).catch((error: unknown) => {
      const failure = new Error(`${reason}, and \`npm run build\` fails: ${firstError(error)}`);
      // The place in this file says nothing about the failure.
      delete failure.stack;
      throw failure;
    });
    // A source that changes while the compiler runs is newer than this build.
    utimesSync(join(root, outputs[0]), start, start);
  } finally {
    held.release();
  }
}

async function waitForLock(folder: string): Promise<Lock> {
  mkdirSync(folder, { recursive: true });
  for (;;) {
    try {
      return lock(folder);
    } catch (error) {
      if (!(error instanceof LoraifyError && error.code === 'RUN_LOCKED')) throw error;
      await setTimeout(100);
    }
  }
}

/** The line of a failed command's output that names the error. */
function firstError(error: unknown): string {
  const lines = (error instanceof Error ? error.message : String(error)).split('\n').map((line) => line.trim());
  return lines.find((line) => /\berror\b/i.test(line)) ?? lines.find((line) => line !== '') ?? 'no output';
}

export async function setup(project: TestProject): Promise<void> {
  const root = join(import.meta.dirname, '../..');
  const build = (reason: string): Promise<void> => {
    process.stderr.write(`${reason}: npm run build\n`);
    const options = { cwd: root, shell: process.platform === 'win32' };
    return new Promise((resolve, reject) => {
      execFile('npm', ['run', '--silent', 'build'], options, (error, stdout, stderr) => {
        if (error === null) resolve();
        else reject(new Error(`${stdout}\n${stderr}\n${error.message}`));
      });
    });
  };
  await freshBuild(root, build);
  project.onTestsRerun(() => freshBuild(root, build));
}
