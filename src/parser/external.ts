/**
 * Resolves external data and checks that the path is allowed. A model is untrusted input, so the data of a tensor must
 * be a regular file inside the model's own folder. A symbolic link on the way has to end there too, or in the folder in
 * which the model's file really is: the cache of Hugging Face's Hub links both into one folder of blobs. ONNX Runtime
 * has the same rule. Source: https://github.com/onnx/onnx/blob/main/docs/ExternalData.md
 */
import { lstatSync, realpathSync } from 'node:fs';
import { dirname, join, sep } from 'node:path';
import { externalDataBounds, externalDataOutside } from '../errors.ts';
import type { ByteSource } from '../graph/tensor.ts';
import type { ExternalFile } from '../proto/index.ts';
import { type FileSource, fileSource, reason } from './fileSource.ts';

export interface ExternalPlace {
  readonly location: string;
  readonly offset: number;
  readonly length: number;
  readonly source: ByteSource;
}

export interface ExternalData {
  /**
   * Finds a tensor's bytes. `needed` is the size that its dims require. Errors: EXTERNAL_DATA_OUTSIDE,
   * EXTERNAL_DATA_BOUNDS.
   */
  find(tensor: string, entries: ReadonlyMap<string, string>, needed: number): ExternalPlace;
  /** Files referred to so far, in order of first use. */
  readonly files: readonly ExternalFile[];
  close(): void;
}

/** A larger data file is taken for a sparse one: files with holes can claim any size. */
const maxDataFileBytes = 2 ** 40;

/** The location that ONNX Runtime's own loaders use for an address in memory. */
const memoryAddress = '*/_ORT_MEM_ADDR_/*';

interface OpenedData {
  readonly file: ExternalFile;
  readonly source: ByteSource;
}

/** `folder` is the model's folder; without one (a model in memory) external data cannot be found. */
export function externalData(folder: string | undefined, modelFile: string): ExternalData {
  const found = new Map<string, OpenedData>();
  const opened: FileSource[] = [];

  const open = (tensor: string, location: string): OpenedData => {
    const before = found.get(location);
    if (before !== undefined) return before;
    if (folder === undefined) throw externalDataBounds(tensor, 'the model is in memory and has no folder', modelFile);
    const path = checkedPath(folder, tensor, location, modelFile);
    const bytes = checkedSize(path, tensor, location, modelFile);
    const source = openedOnRead(path, bytes, (file) => opened.push(file));
    const made = { file: { location, path, bytes }, source };
    found.set(location, made);
    return made;
  };

  return {
    find(tensor, entries, needed) {
      const location = checkedLocation(tensor, entries.get('location') ?? '', modelFile);
      const offset = wholeNumber(tensor, 'offset', entries.get('offset') ?? '0', modelFile);
      const declared = entries.get('length');
      const length = declared === undefined ? needed : wholeNumber(tensor, 'length', declared, modelFile);
      if (length !== needed)
        throw externalDataBounds(tensor, `its length is ${length} bytes, but its dims require ${needed}`, modelFile);
      const { file, source } = open(tensor, location);
      if (offset + length > file.bytes)
        throw externalDataBounds(
          tensor,
          `it reaches to byte ${offset + length} of "${location}", which has ${file.bytes}`,
          modelFile,
        );
      return { location, offset, length, source };
    },
    get files() {
      return [...found.values()].map((f) => f.file);
    },
    close() {
      for (const f of opened) f.close();
    },
  };
}

/** The size of a regular file. Errors: EXTERNAL_DATA_OUTSIDE, EXTERNAL_DATA_BOUNDS. */
function checkedSize(path: string, tensor: string, location: string, modelFile: string): number {
  let bytes: number;
  try {
    const stat = lstatSync(path);
    if (!stat.isFile()) throw externalDataOutside(tensor, location, 'it is not a regular file', modelFile);
    bytes = stat.size;
  } catch (error) {
    if (error instanceof Error && 'hint' in error) throw error;
    throw externalDataBounds(tensor, `the file "${location}" cannot be opened: ${reason(error)}`, modelFile);
  }
  if (bytes > maxDataFileBytes)
    throw externalDataBounds(tensor, `the file "${location}" has ${bytes} bytes, the limit is 1 TiB`, modelFile);
  return bytes;
}

/** A file that is opened on the first read, because a model may refer to thousands of files. */
function openedOnRead(path: string, size: number, onOpen: (file: FileSource) => void): ByteSource {
  let file: FileSource | undefined;
  const opening = (): FileSource => {
    if (file === undefined) {
      file = fileSource(path, { follow: false });
      onOpen(file);
    }
    return file;
  };
  return {
    name: path,
    size,
    get fd() {
      return opening().fd;
    },
    read: (offset, length) => opening().read(offset, length),
  };
}

/** Data files that are not available, for a model given as its graph alone. `absent` makes the error of a read. */
export const absentData = (absent: () => Error): ExternalData => ({
  find(tensor, entries, needed) {
    const location = entries.get('location') ?? '';
    const read = (): never => {
      throw absent();
    };
    const source = { name: location, size: Number.MAX_SAFE_INTEGER, read };
    return {
      location,
      offset: wholeNumber(tensor, 'offset', entries.get('offset') ?? '0', location),
      length: needed,
      source,
    };
  },
  files: [],
  close() {},
});

function wholeNumber(tensor: string, key: string, text: string, modelFile: string): number {
  const n = /^[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(n))
    throw externalDataBounds(tensor, `${key} "${text}" is not a number of bytes`, modelFile);
  return n;
}

/**
 * The location without `.` and `..`, with `/` as the separator; both kinds of separators count, on every system. Checks
 * what needs only the text.
 */
function checkedLocation(tensor: string, location: string, modelFile: string): string {
  const refuse = (why: string): never => {
    throw externalDataOutside(tensor, location, why, modelFile);
  };
  if (location === '') refuse('it has no location');
  if (location.includes(memoryAddress) || location.includes('_ORT_MEM_ADDR_')) refuse('it is an address in memory');
  if (location.includes('\0')) refuse('its name contains a zero byte');
  if (/^([/\\]|[A-Za-z]:)/.test(location)) refuse('it is an absolute path');
  const parts: string[] = [];
  for (const part of location.split(/[/\\]/)) {
    if (part === '..' && parts.pop() === undefined) refuse('it leads out of the folder with ".."');
    if (part !== '' && part !== '.' && part !== '..') parts.push(part);
  }
  return parts.length === 0 ? refuse('it is not a file name') : parts.join('/');
}

/** The real path of a data file. */
function checkedPath(folder: string, tensor: string, location: string, modelFile: string): string {
  const base = realpathSync(folder);
  const full = join(base, location);
  const isInside = (path: string, of: string): boolean => path.startsWith(of.endsWith(sep) ? of : of + sep);
  let real: string;
  try {
    real = realpathSync(full);
  } catch (error) {
    throw externalDataBounds(tensor, `the file "${location}" cannot be opened: ${reason(error)}`, modelFile);
  }
  if (isInside(real, base) || isInside(real, folderOf(modelFile) ?? base)) return real;
  throw externalDataOutside(
    tensor,
    location,
    'a symbolic link on the way leads out of the folder',
    modelFile,
    'replace the link with a copy of the file: cp --remove-destination "$(realpath LINK)" LINK',
  );
}

/** The folder in which a file really is; undefined for a model in memory. */
function folderOf(modelFile: string): string | undefined {
  try {
    return dirname(realpathSync(modelFile));
  } catch {
    return undefined;
  }
}
