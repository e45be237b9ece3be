/**
 * Resolves external data and checks that the path is allowed. A model is untrusted input, so a location may lead only
 * to a regular file in the model's own folder. As in ONNX Runtime, where the path ends counts, not the links on the
 * way, and a model that is itself a link also has the folder of the file that it points to: the Hub's cache keeps
 * model and data as links into one folder of blobs. https://github.com/onnx/onnx/blob/main/docs/ExternalData.md
 */
import { existsSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, sep } from 'node:path';
import { externalDataBounds, externalDataOutside } from '../errors.ts';
import { fileKind } from '../formats/fileKind.ts';
import { freshName } from '../graph/model.ts';
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

/** The place of a model, from which its locations are resolved. */
export interface ModelPlace {
  readonly folder: string;
  /** Files that are called otherwise in this folder than in the model, by the model's location. */
  readonly renamed?: Readonly<Record<string, string>> | undefined;
}

/** Without a place (a model in memory) external data cannot be found. */
export function externalData(place: ModelPlace | undefined, modelFile: string): ExternalData {
  const byLocation = new Map<string, OpenedData>();
  const byPath = new Map<string, OpenedData & { readonly file: { readonly aliases: string[] } }>();
  const names = new Set<string>();
  const opened: FileSource[] = [];

  const open = (tensor: string, location: string): OpenedData => {
    const before = byLocation.get(location);
    if (before !== undefined) return before;
    if (place === undefined) throw externalDataBounds(tensor, 'the model is in memory and has no folder', modelFile);
    const path = checkedPath(place, tensor, location, modelFile);
    const made = byPath.get(path) ?? newFile(path, tensor, location);
    if (location !== made.file.location) made.file.aliases.push(location);
    byLocation.set(location, made);
    byPath.set(path, made);
    return made;
  };

  const newFile = (path: string, tensor: string, location: string) => {
    const bytes = checkedSize(path, tensor, location, modelFile);
    const source = openedOnRead(path, bytes, (file) => opened.push(file));
    const name = freshName(place?.renamed?.[location] ?? plainName(location), names);
    names.add(name);
    const aliases: string[] = [];
    return { file: { location: name, aliases, path, bytes }, source };
  };

  return {
    find(tensor, entries, needed) {
      const location = entries.get('location') ?? '';
      const offset = wholeNumber(tensor, 'offset', entries.get('offset') ?? '0', modelFile);
      const declared = entries.get('length');
      const length = declared === undefined ? needed : wholeNumber(tensor, 'length', declared, modelFile);
      checkName(tensor, location, modelFile);
      if (length !== needed)
        throw externalDataBounds(tensor, `its length is ${length} bytes, but its dims require ${needed}`, modelFile);
      const { file, source } = open(tensor, location);
      if (offset + length > file.bytes) {
        const kind = fileKind(source);
        const has = kind === undefined ? file.bytes : `${file.bytes} and is ${kind.name}`;
        const text = `it reaches to byte ${offset + length} of "${location}", which has ${has}`;
        throw externalDataBounds(tensor, text, modelFile, kind?.cure);
      }
      return { location: file.location, offset, length, source };
    },
    get files() {
      return [...byPath.values()].map((f) => f.file);
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
    const stat = statSync(path);
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

/** The checks that need only a location's text; both kinds of separators count, on every system. */
function checkName(tensor: string, location: string, modelFile: string): void {
  const refuse = (why: string): never => {
    throw externalDataOutside(tensor, location, why, modelFile);
  };
  if (location === '') refuse('it has no location');
  if (location.includes(memoryAddress) || location.includes('_ORT_MEM_ADDR_')) refuse('it is an address in memory');
  if (location.includes('\0')) refuse('its name contains a zero byte');
  if (/^([/\\]|[A-Za-z]:)/.test(location)) refuse('it is an absolute path');
  const parts = partsOf(location);
  if (location.includes('\\') && parts.includes('..')) refuse('it leads out of the folder with ".."');
  if (parts.every((p) => p === '.')) refuse('it is not a file name');
}

const partsOf = (location: string): string[] => location.split(/[/\\]/).filter((p) => p !== '');

/** The location without detours: a path below the folder, or only the file's name where the location leaves it. */
function plainName(location: string): string {
  const parts = partsOf(location).filter((p) => p !== '.');
  return parts.includes('..') ? basename(parts.join('/')) : parts.join('/');
}

/** The file that a location leads to, without links. Errors: EXTERNAL_DATA_OUTSIDE, EXTERNAL_DATA_BOUNDS. */
function checkedPath({ folder, renamed }: ModelPlace, tensor: string, location: string, modelFile: string): string {
  const base = realpathSync.native(folder);
  const model = existsSync(modelFile) ? realpathSync.native(modelFile) : join(base, 'model');
  const roots = [base, dirname(model)];
  let path: string;
  try {
    // Not join, which would remove `..` before links are followed.
    path = realpathSync.native(`${base}${sep}${renamed?.[location] ?? location}`);
  } catch (error) {
    const why = `the file "${location}" cannot be opened: ${reason(error)}`;
    throw externalDataBounds(tensor, why, modelFile, hintFor(location, base, model));
  }
  if (!roots.some((root) => path.startsWith(root.endsWith(sep) ? root : root + sep)))
    throw externalDataOutside(tensor, location, 'it leads out of the folder of the model', modelFile);
  return path;
}

/** The cure for a data file that is not there but near: beside the file that a link points to, or in other case. */
function hintFor(location: string, base: string, model: string): string | undefined {
  if (dirname(model) !== base && existsSync(join(dirname(model), location)))
    return `the model is a link; give the path of the file itself, which has its data beside it: ${model}`;
  const name = basename(location);
  const folder = join(base, dirname(location));
  const alike = existsSync(folder)
    ? readdirSync(folder).find((n) => n.toLowerCase() === name.toLowerCase())
    : undefined;
  return alike === undefined ? undefined : `rename "${alike}" to "${name}": letter case counts`;
}
