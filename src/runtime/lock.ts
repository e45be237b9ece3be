/** One process at a time in a run folder. */

import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { runLocked, writeFailed } from '../errors.ts';

export interface Lock {
  release(): void;
}

interface Owner {
  readonly pid: number;
  readonly host: string;
  /** When the process began: another process may have its number by now. Absent where the system does not tell. */
  readonly began?: string;
}

const name = 'lock';

/**
 * Takes the lock of a folder; one whose process no longer runs on this machine is taken over.
 * Errors: RUN_LOCKED naming the process, WRITE_FAILED.
 */
export function lock(folder: string): Lock {
  const file = join(folder, name);
  const me: Owner = { pid: process.pid, host: hostname(), ...beganOf(process.pid) };
  const text = `${JSON.stringify(me)}\n`;
  for (let attempt = 0; ; attempt++) {
    try {
      writeFileSync(file, text, { flag: 'wx' });
      break;
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) {
        throw writeFailed(file, error instanceof Error ? error.message : String(error));
      }
    }
    const owner = readOwner(file);
    if (owner !== undefined && isAlive(owner)) throw runLocked(folder, `process ${owner.pid} on ${owner.host}`);
    if (attempt > 40) throw runLocked(folder, 'another process');
    // A lock without an owner is just being written, or its writer died over it.
    if (owner === undefined && attempt < 20) {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
      continue;
    }
    takeAway(file);
  }
  let held = true;
  const release = (): void => {
    if (held) rmSync(file, { force: true });
    held = false;
    process.off('exit', release);
  };
  process.on('exit', release);
  return { release };
}

/** Two processes may find the same stale lock: only one of them can rename it. */
function takeAway(file: string): void {
  const aside = `${file}.${process.pid}.stale`;
  try {
    renameSync(file, aside);
    rmSync(aside, { force: true });
  } catch {
    // The other one did.
  }
}

function readOwner(file: string): Owner | undefined {
  try {
    const json: unknown = JSON.parse(readFileSync(file, 'utf8'));
    if (typeof json !== 'object' || json === null) return undefined;
    const { pid, host, began } = { pid: undefined, host: undefined, began: undefined, ...json };
    if (typeof pid !== 'number' || typeof host !== 'string') return undefined;
    return { pid, host, ...(typeof began === 'string' ? { began } : {}) };
  } catch {
    return undefined;
  }
}

/** Processes of other machines count as alive: nobody here can know. */
function isAlive({ pid, host, began }: Owner): boolean {
  if (host !== hostname()) return true;
  try {
    process.kill(pid, 0);
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
  const now = beganOf(pid).began;
  return began === undefined || now === undefined || began === now;
}

/** The start time of a process in clock ticks since boot (Linux: field 22 of /proc/PID/stat). */
function beganOf(pid: number): { began?: string } {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const began = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    return began === undefined ? {} : { began };
  } catch {
    return {};
  }
}
