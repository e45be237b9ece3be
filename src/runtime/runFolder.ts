/** A run folder: run.json says what the run is of, log.jsonl what happened. */

import {
  closeSync,
  existsSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { badCheckpoint, targetExists, targetNotOurs, writeFailed } from '../errors.ts';
import { openReader, writeFileAtomic } from '../formats/files.ts';
import { digest } from './checkpoint.ts';

export const runFileName = 'run.json';
export const logName = 'log.jsonl';

const schema = z.object({
  format: z.literal('loraify-run/1'),
  /** Fingerprints of the package, the initial parameters and the data, and the options that change numbers. */
  of: z.record(z.string(), z.unknown()),
});

/** What a run is of; two runs with equal ones give equal numbers. */
export type RunIdentity = Readonly<Record<string, unknown>>;

/** A short name of an identity, for checkpoints. */
export function identityHash(of: RunIdentity): string {
  return digest([Buffer.from(JSON.stringify(of))]).slice(0, 32);
}

/**
 * Whether a new run may be written here, before any work is done.
 * Errors: TARGET_EXISTS, TARGET_NOT_REPLACEABLE where --force would remove what is not a run.
 */
export function checkRunTarget(folder: string, force: boolean): void {
  const stat = lstatSync(folder, { throwIfNoEntry: false });
  if (stat === undefined) return;
  if (!force) throw targetExists(folder);
  if (stat.isSymbolicLink()) throw targetNotOurs(folder, 'it is a symbolic link');
  if (!stat.isDirectory()) throw targetNotOurs(folder, 'it is a file, not a folder');
  const names = readdirSync(folder);
  if (names.length > 0 && !names.includes(runFileName))
    throw targetNotOurs(folder, `it has files but no ${runFileName}`);
}

/** What a run leaves; everything else in the folder is the user's. */
const parts = [runFileName, logName, 'adapter', 'checkpoints', 'loss.svg'];

/** Empties a run folder (which must be locked) and begins a new run in it. Errors: WRITE_FAILED. */
export function beginRun(folder: string, of: RunIdentity): void {
  for (const name of parts) rmSync(join(folder, name), { recursive: true, force: true });
  writeFileAtomic(join(folder, runFileName), [
    Buffer.from(`${JSON.stringify({ format: 'loraify-run/1', of }, undefined, 2)}\n`),
  ]);
}

export function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw writeFailed(folder, error instanceof Error ? (error.message.split(', ')[0] ?? '') : String(error));
  }
}

/** Errors: BAD_CHECKPOINT where the folder is no run, or one of another package, other data or other options; it names which. */
export function checkSameRun(folder: string, of: RunIdentity): void {
  const file = join(folder, runFileName);
  if (!existsSync(file)) throw badCheckpoint(`"${folder}" is not a run: it has no ${runFileName}`, folder);
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    json = undefined;
  }
  const parsed = schema.safeParse(json);
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

/** SHA-256 of a file of any size. */
export function fileDigest(file: string): string {
  const reader = openReader(file);
  try {
    return digest(
      (function* () {
        const chunk = 2 ** 22;
        for (let at = 0; at < reader.size; at += chunk) yield reader.read(at, Math.min(chunk, reader.size - at));
      })(),
    );
  } finally {
    reader.close();
  }
}

export interface Log {
  /** Appends one line. Errors: WRITE_FAILED. */
  write(entry: object): void;
  /** To the disk. */
  flush(): void;
  close(): void;
}

/** Opens log.jsonl for appending; lines of steps behind `upTo` and a line that was cut short are removed first. */
export function openLog(folder: string, upTo: number): Log {
  const file = join(folder, logName);
  if (existsSync(file)) {
    const text = readFileSync(file, 'utf8');
    const kept = text.split('\n').filter((line) => stepOf(line) <= upTo);
    const wanted = kept.map((line) => `${line}\n`).join('');
    if (wanted !== text) writeFileAtomic(file, [Buffer.from(wanted)]);
  }
  const attempt = <T>(action: () => T): T => {
    try {
      return action();
    } catch (error) {
      throw writeFailed(file, error instanceof Error ? (error.message.split(', ')[0] ?? '') : String(error));
    }
  };
  const fd = attempt(() => openSync(file, 'a'));
  return {
    write: (entry) => void attempt(() => writeSync(fd, `${JSON.stringify(entry)}\n`)),
    flush: () => attempt(() => fsyncSync(fd)),
    close: () => closeSync(fd),
  };
}

/** The step of a log line; infinite for what is no line of ours. */
function stepOf(line: string): number {
  try {
    const json: unknown = JSON.parse(line);
    const step = typeof json === 'object' && json !== null && 'step' in json ? json.step : undefined;
    return typeof step === 'number' ? step : Number.POSITIVE_INFINITY;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
