/**
 * Writes outputs atomically. Everything is built beside its target under a hidden name and renamed. While an output is
 * replaced, the old one is `<target>.old` for a moment; `recover` repairs the state after a crash in that moment.
 *
 * Folders are not flushed to the disk: a package can be made again from its source, and flushing gigabytes of weights
 * would cost more than writing them. Single files are flushed.
 */
import {
  closeSync,
  existsSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { LoraifyError, targetExists, targetNotOurs, writeFailed } from '../errors.ts';
import { makeFolders } from '../formats/files.ts';

export interface TargetOptions {
  /** Replaces an existing output, if this program wrote it. */
  readonly force?: boolean;
  /** Files and folders that must not be replaced: the source model, the package that is read. */
  readonly protect?: readonly string[];
}

export interface FolderOptions extends TargetOptions {
  /** The file that identifies a folder as an output of this program. */
  readonly marker?: string;
}

export interface FileOptions extends TargetOptions {
  /** Whether the existing file is of the kind that would be written; by default any regular file is. */
  readonly sameKind?: (path: string) => boolean;
}

/** A file in the folder that is being replaced; it distinguishes this program's `.old` from a user's copy. */
const replacedMark = '.loraify-replaced';

/** Checks that the target may be written, before any work is done. Errors: TARGET_EXISTS, TARGET_NOT_REPLACEABLE. */
export function checkFolderTarget(target: string, options: FolderOptions = {}): void {
  recover(target);
  const stat = attempt(target, () => lstatSync(target, { throwIfNoEntry: false }));
  if (stat === undefined) return;
  if (options.force !== true) throw targetExists(target);
  if (stat.isSymbolicLink()) throw targetNotOurs(target, 'it is a symbolic link');
  if (!stat.isDirectory()) throw targetNotOurs(target, 'it is a file, not a folder');
  refuseProtected(target, options.protect ?? []);
  const names = readdirSync(target);
  const marker = options.marker ?? 'loraify.json';
  if (names.length > 0 && !names.includes(marker)) throw targetNotOurs(target, `it has files but no ${marker}`);
  if (existsSync(`${target}.old`)) throw targetNotOurs(target, `"${basename(target)}.old" is in the way`);
}

/** Does the same as checkFolderTarget for a single file. */
export function checkFileTarget(target: string, options: FileOptions = {}): void {
  const stat = attempt(target, () => lstatSync(target, { throwIfNoEntry: false }));
  if (stat === undefined) return;
  if (options.force !== true) throw targetExists(target);
  if (stat.isSymbolicLink()) throw targetNotOurs(target, 'it is a symbolic link');
  if (!stat.isFile()) throw targetNotOurs(target, 'it is not a regular file');
  refuseProtected(target, options.protect ?? []);
  if (options.sameKind?.(target) === false) throw targetNotOurs(target, 'it is a file of another kind');
}

/** `target` must not be one of the paths, contain one, or be inside one. */
function refuseProtected(target: string, paths: readonly string[]): void {
  const real = realpathSync(target);
  for (const path of paths) {
    if (!existsSync(path)) continue;
    for (const other of [realpathSync(path), resolve(path)]) {
      if (other === real || other.startsWith(real + sep)) throw targetNotOurs(target, `it is or contains "${path}"`);
      if (real.startsWith(other + sep)) throw targetNotOurs(target, `it is a part of "${path}"`);
    }
  }
}

/**
 * Builds a folder with `write` and moves it to `target`. On any error the partial output is removed and the existing
 * target is kept. Errors: TARGET_EXISTS, TARGET_NOT_REPLACEABLE, WRITE_FAILED, and those of `write`.
 */
export async function createFolder<T>(
  target: string,
  options: FolderOptions,
  write: (folder: string) => T | Promise<T>,
): Promise<T> {
  checkFolderTarget(target, options);
  return building(target, async (temporary) => {
    attempt(target, () => mkdirSync(temporary));
    const result = await write(temporary);
    checkFolderTarget(target, options);
    attempt(target, () => replaceFolder(temporary, target));
    return result;
  });
}

/**
 * Writes one file with `write`, which receives the path to write to, in a temporary folder under the file's own name.
 * Files that it writes beside it, named after it (`<file>.data`), are moved as well. Errors: as createFolder.
 */
export async function createFile<T>(
  target: string,
  options: FileOptions,
  write: (path: string) => T | Promise<T>,
): Promise<T> {
  checkFileTarget(target, options);
  return building(target, async (temporary) => {
    attempt(target, () => mkdirSync(temporary));
    const name = basename(resolve(target));
    const result = await write(join(temporary, name));
    // The companions are moved first, so that the new file never refers to missing files.
    const names = [...readdirSync(temporary).filter((n) => n !== name), name];
    const place = (n: string): string => join(dirname(resolve(target)), n);
    for (const n of names) checkFileTarget(place(n), n === name ? options : { ...options, sameKind: () => true });
    attempt(target, () => {
      for (const n of names) flush(join(temporary, n));
      for (const n of names) renameSync(join(temporary, n), place(n));
      rmSync(temporary, { recursive: true });
    });
    return result;
  });
}

/** Runs `make` with a hidden name beside the target that is always removed afterwards, also at process exit. */
async function building<T>(target: string, make: (temporary: string) => Promise<T>): Promise<T> {
  const full = resolve(target);
  const parent = dirname(full);
  const madeParent = attempt(target, () => makeFolders(parent));
  attempt(target, () => removeAbandoned(parent, basename(full)));
  const temporary = join(parent, `.${basename(full)}.loraify-${process.pid}-${++builds}`);
  const clean = (): void => rmSync(temporary, { recursive: true, force: true });
  process.on('exit', clean);
  try {
    return await make(temporary);
  } catch (error) {
    clean();
    if (madeParent !== undefined) removeEmpty(parent, madeParent);
    // A full disk can appear in any write.
    throw isSystemError(error) ? writeFailed(target, reason(error)) : error;
  } finally {
    process.off('exit', clean);
  }
}

let builds = 0;

/**
 * Moves the old folder away, the new one in, and removes the old one: at every moment one of them exists under a name
 * that `recover` handles.
 */
function replaceFolder(from: string, target: string): void {
  if (lstatSync(target, { throwIfNoEntry: false }) === undefined) {
    renameSync(from, target);
    return;
  }
  const old = `${target}.old`;
  writeFileSync(join(target, replacedMark), '');
  renameSync(target, old);
  try {
    renameSync(from, target);
  } catch (error) {
    renameSync(old, target);
    rmSync(join(target, replacedMark), { force: true });
    throw error;
  }
  rmSync(old, { recursive: true, force: true });
}

/**
 * Finishes or undoes a replacement that a crash interrupted. `opening`: the target is about to be read, so if it is
 * missing, even an unmarked `.old` package is restored.
 */
export function recover(target: string, opening = false): void {
  const old = `${target}.old`;
  if (!existsSync(old)) return;
  const marked = existsSync(join(old, replacedMark));
  const there = existsSync(target);
  if (!marked && (there || !opening || !existsSync(join(old, 'loraify.json')))) return;
  attempt(target, () => {
    if (there) rmSync(old, { recursive: true, force: true });
    else {
      renameSync(old, target);
      rmSync(join(target, replacedMark), { force: true });
    }
  });
}

/** Removes files that ended processes left beside the target. */
function removeAbandoned(parent: string, base: string): void {
  const prefix = `.${base}.loraify-`;
  for (const name of readdirSync(parent)) {
    if (!name.startsWith(prefix)) continue;
    const pid = Number(name.slice(prefix.length).split('-')[0]);
    if (Number.isInteger(pid) && pid > 0 && !isRunning(pid))
      rmSync(join(parent, name), { recursive: true, force: true });
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/** Removes folders from `deepest` up to `top` that were created for an output that failed. */
function removeEmpty(deepest: string, top: string): void {
  for (let path = deepest; !relative(top, path).startsWith('..'); path = dirname(path)) {
    if (!existsSync(path) || readdirSync(path).length > 0) return;
    rmSync(path, { recursive: true });
  }
}

function flush(path: string): void {
  const fd = openSync(path, 'r+');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

const isSystemError = (error: unknown): boolean =>
  error instanceof Error && 'syscall' in error && !(error instanceof LoraifyError);

function attempt<T>(target: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof LoraifyError) throw error;
    throw writeFailed(target, reason(error));
  }
}

/** The reason of an error, without Node's call and path. */
export function reason(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.split(', ')[0] ?? message;
}
