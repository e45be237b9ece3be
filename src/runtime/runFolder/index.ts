/** A run folder: run.json identifies the run; the folder is locked while a process writes to it. */

import { existsSync, lstatSync, readdirSync, readFileSync, rmdirSync, rmSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { badCheckpoint, targetExists, targetNotOurs } from '../../errors.ts';
import { makeFolders, writeFileAtomic, writing } from '../../formats/files.ts';
import { digest } from './fingerprint.ts';
import { checkUnlocked, type Lock, lock, lockName } from './lock.ts';
import { logName } from './log.ts';

export const runFileName = 'run.json';

export const runSchema = z.object({
  format: z.literal('loraify-run/1'),
  /** Fingerprints of the package, the initial parameters and the data, and the options that change numbers. */
  of: z.record(z.string(), z.unknown()),
});

/** The inputs of a run; two runs with equal ones give equal numbers. */
export type RunIdentity = Readonly<Record<string, unknown>>;

/** A short name of an identity, for checkpoints. */
export function identityHash(of: RunIdentity): string {
  return digest([Buffer.from(JSON.stringify(of))]).slice(0, 32);
}

/** A run folder locked by this process. */
export interface ClaimedRun {
  readonly lock: Lock;
  /** An earlier run was started here. */
  readonly begun: boolean;
  /** Releases the folder; an empty one is removed. */
  release(): void;
}

/**
 * Creates or finds the folder of a run and locks it, before any work is done. Errors: TARGET_EXISTS; RUN_LOCKED;
 * BAD_CHECKPOINT if there is nothing to resume; TARGET_NOT_REPLACEABLE if --force would remove something other than a
 * run; WRITE_FAILED.
 */
export function claimRun(folder: string, { resume, force }: { resume: boolean; force: boolean }): ClaimedRun {
  const stat = writing(folder, () => lstatSync(folder, { throwIfNoEntry: false }));
  if (stat === undefined && resume) throw badCheckpoint(`there is no run to resume at "${folder}"`, folder);
  if (stat !== undefined) {
    checkUnlocked(folder);
    checkTarget(folder, resume, force);
  }
  const first = makeFolders(folder);
  const held = lock(folder);
  const names = readdirSync(folder);
  const begun = names.includes(runFileName);
  const release = (): void => {
    process.off('exit', release);
    held.release();
    // Only files that this process made, or another one that stopped before it started the run.
    if (!begun && first === undefined && !isLeftover(names)) return;
    for (let at = resolve(folder); ; at = dirname(at)) {
      try {
        rmdirSync(at);
      } catch {
        return;
      }
      if (first === undefined || at === resolve(first)) return;
    }
  };
  if (begun && !resume && !force) {
    held.release();
    throw targetExists(folder);
  }
  process.on('exit', release);
  return { lock: held, begun, release };
}

/** An interrupted start leaves only a lock file; it is safe to reuse the folder. */
function checkTarget(folder: string, resume: boolean, force: boolean): void {
  const isFolder = statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true;
  const names = isFolder ? readdirSync(folder) : [];
  if (names.length > 0 && isLeftover(names)) return;
  const isRun = names.includes(runFileName);
  if (resume) {
    if (isRun || (isFolder && names.length === 0)) return;
    throw badCheckpoint(
      `"${folder}" is not a run: ${isFolder ? `it has no ${runFileName}` : 'it is not a folder'}`,
      folder,
    );
  }
  if (!force) throw targetExists(folder);
  if (lstatSync(folder).isSymbolicLink()) throw targetNotOurs(folder, 'it is a symbolic link');
  if (!isFolder) throw targetNotOurs(folder, 'it is a file, not a folder');
  if (names.length > 0 && !isRun) throw targetNotOurs(folder, `it has files but no ${runFileName}`);
}

/** Temporary files of killed processes. */
const unfinished = /^lock(\.\d+\.stale)?$|^\..*\.\d+\.(tmp|old)$|^(run\.json|loss\.svg)\.\d+\.tmp$/;

const isLeftover = (names: readonly string[]): boolean => names.every((name) => unfinished.test(name));

/** The outputs of a run in addition to run.json; everything else in the folder is the user's. */
const parts = ['adapter', 'checkpoints', 'loss.svg', logName];

/** Empties a run folder (which must be claimed) and starts a new run in it. Errors: WRITE_FAILED. */
export function beginRun(folder: string, of: RunIdentity): void {
  tidy(folder);
  for (const name of parts) {
    const path = join(folder, name);
    writing(path, () => rmSync(path, { recursive: true, force: true }));
  }
  // Replaced, not removed first: without it --force would not recognise the folder.
  writeFileAtomic(join(folder, runFileName), [
    Buffer.from(`${JSON.stringify({ format: 'loraify-run/1', of }, undefined, 2)}\n`),
  ]);
}

/** Removes temporary files that killed processes left in a run folder, which must be claimed. Errors: WRITE_FAILED. */
export function tidy(folder: string): void {
  for (const at of [folder, join(folder, 'checkpoints')]) {
    if (!existsSync(at)) continue;
    for (const name of readdirSync(at)) {
      if (name === lockName || !unfinished.test(name)) continue;
      writing(join(at, name), () => rmSync(join(at, name), { recursive: true, force: true }));
    }
  }
}

/** Errors: BAD_CHECKPOINT, which names the differences, if a run is of another package, other data or other options. */
export function checkSameRun(folder: string, of: RunIdentity): void {
  const file = join(folder, runFileName);
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    json = undefined;
  }
  const parsed = runSchema.safeParse(json);
  if (!parsed.success) throw badCheckpoint(`${runFileName} is malformed`, file);
  const before = parsed.data.of;
  const show = (value: unknown): string => JSON.stringify(value) ?? 'nothing';
  const differences = [...new Set([...Object.keys(before), ...Object.keys(of)])]
    .filter((key) => show(before[key]) !== show(of[key]))
    .map((key) =>
      key.endsWith('Sha256')
        ? `the ${key.slice(0, -6)} differs`
        : `${key} was ${show(before[key])} and is now ${show(of[key])}`,
    );
  if (differences.length > 0) throw badCheckpoint(`"${folder}" is another run: ${differences.join('; ')}`, folder);
}
