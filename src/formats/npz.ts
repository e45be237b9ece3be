/** NumPy's .npz: a zip file of .npy files. */

import { unzipSync, zipSync } from 'fflate';
import { badData, LoraifyError } from '../errors.ts';
import { readWhole, writeFileAtomic } from './files.ts';
import { encodeNpy, type NpyTexts, parseNpy, parseNpyTexts } from './npy.ts';
import type { RawTensor } from './rawTensor.ts';

const maxFileBytes = 2 ** 31 - 1;

/** The maximum compression ratio of Deflate; an entry that claims a higher one is forged. */
const maxRatio = 1032;

/**
 * All entries together may unpack to this or to 100 times the file, whichever is more: anything larger is a zip bomb.
 */
const freeBytes = 2 ** 30;

/**
 * Reads the arrays of an .npz file, under their names without `.npy`, in the order of the file.
 * @param wanted selects the names to read; the others cost nothing.
 * @param texts receives the arrays of strings, which are errors without it. Errors: FILE_NOT_FOUND; BAD_DATA for a file
 * that is not a zip file or above 2 GiB, a zip bomb, or an array that parseNpy refuses.
 */
export function readNpz(
  file: string,
  wanted: (name: string) => boolean = () => true,
  texts?: Map<string, NpyTexts>,
): Map<string, RawTensor> {
  const bytes = readWhole(file, maxFileBytes, (size) =>
    badData(`an .npz file of ${size} bytes is too large to be unpacked in memory; use .safetensors or .jsonl`, file),
  );
  return parseNpz(bytes, file, wanted, texts);
}

/** Does the same as readNpz for a file in memory. */
export function parseNpz(
  bytes: Uint8Array,
  file?: string,
  wanted: (name: string) => boolean = () => true,
  texts?: Map<string, NpyTexts>,
): Map<string, RawTensor> {
  const entries = unzip(bytes, file, wanted);
  const arrays = new Map<string, RawTensor>();
  for (const [entry, content] of entries) {
    const name = entry.replace(/\.npy$/, '');
    const where = `array "${name}"`;
    const strings = texts && parseNpyTexts(content, where, file);
    if (strings !== undefined) texts?.set(name, strings);
    else arrays.set(name, parseNpy(content, where, file));
  }
  return arrays;
}

/** The names of the arrays in a file, without unpacking them. Errors as readNpz. */
export function npzNames(bytes: Uint8Array, file?: string): string[] {
  const names: string[] = [];
  unzip(bytes, file, (name) => {
    names.push(name);
    return false;
  });
  return names;
}

/** Encodes an .npz file, deflated unless `compress` is false. Equal arrays in equal order give equal bytes. */
export function encodeNpz(
  arrays: Iterable<readonly [string, RawTensor]>,
  options: { readonly compress?: boolean } = {},
): Uint8Array {
  const level = options.compress === false ? 0 : 6;
  // The earliest year of the zip format; fflate reads the date in local time.
  const mtime = new Date(1980, 0, 1);
  // fflate does not take a Map; every name ends in .npy, so no key looks like an integer and the order is kept.
  const entries = Object.fromEntries([...arrays].map(([name, tensor]) => [`${name}.npy`, encodeNpy(tensor)]));
  return zipSync(entries, { level, mtime });
}

/** Writes an .npz file atomically. Errors: BAD_DATA (bfloat16), WRITE_FAILED. */
export function writeNpz(
  file: string,
  arrays: Iterable<readonly [string, RawTensor]>,
  options: { readonly compress?: boolean } = {},
): void {
  writeFileAtomic(file, [encodeNpz(arrays, options)]);
}

function unzip(
  bytes: Uint8Array,
  file: string | undefined,
  wanted: (name: string) => boolean,
): [name: string, content: Uint8Array][] {
  const limit = Math.max(freeBytes, 100 * bytes.length);
  const seen = new Set<string>();
  let total = 0;
  try {
    const contents = unzipSync(bytes, {
      filter: ({ name, size, originalSize, compression }) => {
        // Bytes after the end of a forged directory read as entries without a name.
        if (name === '') throw badData('its zip directory is damaged', file);
        if (name.endsWith('/') || !wanted(name.replace(/\.npy$/, ''))) return false;
        total += originalSize;
        if (originalSize > maxRatio * size + 64 || (compression === 0 && originalSize !== size)) {
          throw badData(`the entry "${name}" claims to unpack ${size} bytes to ${originalSize}`, file);
        }
        if (total > limit) {
          throw badData(`it would unpack to more than ${limit} bytes; use .safetensors for data of this size`, file);
        }
        if (seen.has(name)) throw badData(`the entry "${name}" occurs twice`, file);
        seen.add(name);
        return true;
      },
    });
    return Object.entries(contents);
  } catch (error) {
    if (error instanceof LoraifyError) throw error;
    throw badData(`it is not a readable .npz (zip) file: ${error instanceof Error ? error.message : error}`, file);
  }
}
