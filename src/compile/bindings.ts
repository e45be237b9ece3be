/** Reads the tensors of `--bind NAME=FILE`. */
import { basename, extname } from 'node:path';
import { badOption, didYouMean } from '../errors.ts';
import { readWhole } from '../formats/files.ts';
import { parseNpy } from '../formats/npy.ts';
import { readNpz } from '../formats/npz.ts';
import type { RawDtype, RawTensor } from '../formats/rawTensor.ts';
import { openSafetensors } from '../formats/safetensors.ts';
import { type DataType, inlineTensor, type Tensor } from '../graph/tensor.ts';
import type { Binding } from '../passes/index.ts';

const keywords = ['zeros', 'ones', 'empty', 'input'] as const;

/**
 * Errors: BAD_OPTION for a value that is neither a keyword nor a file of a known kind; FILE_NOT_FOUND, BAD_DATA,
 * BAD_SAFETENSORS.
 */
export function readBindings(given: Readonly<Record<string, string>>): Map<string, Binding> {
  return new Map(
    Object.entries(given).map(([name, value]): [string, Binding] => {
      const keyword = keywords.find((k) => k === value);
      return [name, keyword ?? { file: basename(value), tensor: tensorIn(value, name) }];
    }),
  );
}

type Reader = (file: string, name: string) => RawTensor;

const readers: Readonly<Record<string, Reader>> = {
  '.npy': (file) =>
    parseNpy(
      readWhole(file, maxBytes, (size) => tooLarge(file, size)),
      'the array',
      file,
    ),
  '.npz': (file, name) => chosen(readNpz(file), name, file),
  '.safetensors': (file, name) => {
    const source = openSafetensors(file);
    try {
      const only = source.tensors.size === 1 ? [...source.tensors.keys()][0] : undefined;
      const found = source.read(name) ?? (only === undefined ? undefined : source.read(only));
      return found ?? missing(name, source.tensors.keys(), file);
    } finally {
      source.close();
    }
  },
};

const maxBytes = 2 ** 31 - 1;
const tooLarge = (file: string, size: number): Error => badOption(`--bind: "${file}" of ${size} bytes is too large`);

function tensorIn(file: string, name: string): Tensor {
  const reader = readers[extname(file).toLowerCase()];
  if (reader === undefined)
    throw badOption(
      `--bind ${name}: "${file}" is neither ${keywords.join(', ')} nor a file ending in ${Object.keys(readers).join(', ')}`,
    );
  const { dtype, shape, data } = reader(file, name);
  return inlineTensor(types[dtype], shape, Uint8Array.from(data));
}

/** The array with the input's name, or the only one. */
function chosen(arrays: ReadonlyMap<string, RawTensor>, name: string, file: string): RawTensor {
  const [only] = arrays.values();
  const found = arrays.get(name) ?? (arrays.size === 1 ? only : undefined);
  return found ?? missing(name, arrays.keys(), file);
}

function missing(name: string, there: Iterable<string>, file: string): never {
  const names = [...there];
  throw badOption(
    `--bind ${name}: "${file}" has no array of this name${didYouMean(name, names) || `; there are ${names.map((n) => `"${n}"`).join(', ')}`}`,
  );
}

const types: Readonly<Record<RawDtype, DataType>> = {
  BOOL: 'bool',
  U8: 'uint8',
  I8: 'int8',
  I16: 'int16',
  U16: 'uint16',
  F16: 'float16',
  BF16: 'bfloat16',
  I32: 'int32',
  U32: 'uint32',
  F32: 'float32',
  F64: 'float64',
  I64: 'int64',
  U64: 'uint64',
};
