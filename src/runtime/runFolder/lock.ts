/** Locks a run folder for one process at a time. */

import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { runLocked } from '../../errors.ts';
import { writing } from '../../formats/files.ts';

export interface Lock {
  /**
   * Checks that the lock is still this process's, before a write. Errors: RUN_LOCKED if another process has it now,
   * WRITE_FAILED.
   */
  check(): void;
  release(): void;
}

interface Owner {
  readonly pid: number;
  readonly host: string;
  /**
   * The id of the machine's boot: after a restart the numbers below begin again. Absent if the system does not report
   * it.
   */
  readonly boot?: string;
  /** The start time of the process: its id may have been reused. Absent if the system does not report it. */
  readonly began?: string;
}

export const lockName = 'lock';

/**
 * Takes the lock of a folder; a lock whose process no longer runs on this machine is taken over. Errors: RUN_LOCKED,
 * which names the process, WRITE_FAILED.
 */
export function lock(folder: string): Lock {
  const file = join(folder, lockName);
  const { began } = processOf(process.pid);
  const me: Owner = { pid: process.pid, host: hostname(), ...bootOf(), ...(began === undefined ? {} : { began }) };
  const text = `${JSON.stringify(me)}\n`;
  for (let attempt = 0; !place(file, text); attempt++) {
    const found = read(file);
    const owner = found === undefined ? undefined : ownerOf(found);
    if (owner !== undefined && isAlive(owner)) throw lockedBy(owner, folder);
    if (attempt > 40) throw runLocked(folder, 'another process');
    // A lock without an owner is being written, or its writer died meanwhile.
    if (owner === undefined && attempt < 20) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
    else if (found !== undefined) takeAway(file, found);
  }
  let held = true;
  const release = (): void => {
    process.off('exit', release);
    if (!held) return;
    held = false;
    try {
      if (read(file) === text) rmSync(file, { force: true });
    } catch {
      // The lock will be recognised as stale.
    }
  };
  process.on('exit', release);
  return {
    check() {
      // The user may have removed it; no other process has it if it can be placed again.
      const found = read(file);
      if (found === text || (found === undefined && place(file, text))) return;
      held = false;
      const owner = ownerOf(found ?? read(file) ?? '');
      throw owner === undefined ? runLocked(folder, 'another process') : lockedBy(owner, folder);
    },
    release,
  };
}

/** Errors: RUN_LOCKED if a running process has locked the folder. */
export function checkUnlocked(folder: string): void {
  const owner = ownerOf(read(join(folder, lockName)) ?? '');
  if (owner !== undefined && isAlive(owner)) throw lockedBy(owner, folder);
}

function lockedBy({ pid, host }: Owner, folder: string): Error {
  const elsewhere = `wait until it ends, or choose another -o; if that process is known to have ended, delete ${join(folder, lockName)}`;
  return runLocked(folder, `process ${pid} on ${host}`, host === hostname() ? undefined : elsewhere);
}

/** False if there is a lock already. */
function place(file: string, text: string): boolean {
  return writing(file, () => {
    try {
      writeFileSync(file, text, { flag: 'wx' });
      return true;
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
      // On a full disk the file may have been created without its text.
      if (read(file) === '') rmSync(file, { force: true });
      throw error;
    }
  });
}

/**
 * Two processes may find the same stale lock, and the slower one may remove the lock that the faster one has placed by
 * then.
 */
function takeAway(file: string, stale: string): void {
  const aside = `${file}.${process.pid}.stale`;
  try {
    renameSync(file, aside);
    if (read(aside) !== stale) linkSync(aside, file);
  } catch {
    // Another process removed it, or has placed its own.
  }
  rmSync(aside, { force: true });
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

function ownerOf(text: string): Owner | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof json !== 'object' || json === null) return undefined;
  const { pid, host, boot, began } = { pid: undefined, host: undefined, boot: undefined, began: undefined, ...json };
  if (typeof pid !== 'number' || typeof host !== 'string') return undefined;
  return {
    pid,
    host,
    ...(typeof boot === 'string' ? { boot } : {}),
    ...(typeof began === 'string' ? { began } : {}),
  };
}

/** Processes of other machines count as alive, because they cannot be checked here. */
function isAlive({ pid, host, boot, began }: Owner): boolean {
  if (host !== hostname()) return true;
  if (differ(boot, bootOf().boot)) return false;
  try {
    process.kill(pid, 0);
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
  const { state, began: now } = processOf(pid);
  // Z: the process has ended, but its parent has not collected its exit status.
  return state !== 'Z' && !differ(began, now);
}

const differ = (a: string | undefined, b: string | undefined): boolean => a !== undefined && b !== undefined && a !== b;

/** Linux's id of this boot of the machine. */
function bootOf(): { boot?: string } {
  const boot = read('/proc/sys/kernel/random/boot_id')?.trim();
  return boot === undefined ? {} : { boot };
}

/** Linux: fields 3 and 22 of /proc/PID/stat, the state and the start time in clock ticks since boot. */
function processOf(pid: number): { state?: string; began?: string } {
  const stat = read(`/proc/${pid}/stat`);
  // The second field is the program's name, which may contain any character.
  const [state, ...fields] = stat?.slice(stat.lastIndexOf(')') + 2).split(' ') ?? [];
  const began = fields[18];
  return state === undefined || began === undefined ? {} : { state, began };
}
