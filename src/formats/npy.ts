/** NumPy's array format (numpy/lib/format.py, versions 1 to 3): a Python dict literal, then the elements. */

import { badData } from '../errors.ts';
import { elementCount, type RawDtype, type RawTensor, rawDtypes } from './rawTensor.ts';

const descriptors: Readonly<Record<string, RawDtype>> = {
  f2: 'F16',
  f4: 'F32',
  f8: 'F64',
  i1: 'I8',
  i2: 'I16',
  i4: 'I32',
  i8: 'I64',
  u1: 'U8',
  u2: 'U16',
  u4: 'U32',
  u8: 'U64',
  b1: 'BOOL',
};

const magic = '\x93NUMPY';

/** An array of strings, in C order. */
export interface NpyTexts {
  readonly shape: readonly number[];
  readonly texts: readonly string[];
}

/** The bytes of one array and what they are. */
interface Content extends Header {
  readonly data: Uint8Array;
  readonly fail: (reason: string) => Error;
}

/** Errors: BAD_DATA for anything malformed and for structured types. */
function contentOf(bytes: Uint8Array, where: string, file: string | undefined): Content {
  const fail = (reason: string): Error => badData(`${where}: ${reason}`, file);
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 12));
  if (head.length < 10 || head.toString('latin1', 0, 6) !== magic) throw fail('it is not in .npy format');
  const version = head[6] ?? 0;
  if (version < 1 || version > 3) throw fail(`.npy version ${version} is unknown`);
  const start = version === 1 ? 10 : 12;
  if (head.length < start) throw fail('it is truncated');
  const length = version === 1 ? head.readUInt16LE(8) : head.readUInt32LE(8);
  if (length > 65536) throw fail(`a header of ${length} bytes is too long`);
  if (start + length > bytes.length) throw fail('it is truncated');
  const header = new TextDecoder().decode(bytes.subarray(start, start + length));

  if (/'descr':\s*\[/.test(header)) throw fail('it has several fields; save each as an array of its own');
  const found = parseHeader(header);
  if (found === undefined) throw fail(`the header ${header.trim()} is malformed`);
  return { ...found, data: bytes.subarray(start + length), fail };
}

/**
 * Reads one array; big-endian elements are swapped and Fortran order is converted to C order.
 * @param where the array's name for messages: `array "x"`. Errors: BAD_DATA for anything malformed and for object,
 * string, complex and structured types.
 */
export function parseNpy(bytes: Uint8Array, where: string, file?: string): RawTensor {
  const { descr, fortran, shape, data, fail } = contentOf(bytes, where, file);
  const dtype = descriptors[descr.slice(1)];
  if (dtype === undefined || !'<>|='.includes(descr[0] ?? '')) {
    const what = descr.includes('O') ? ' (Python objects)' : '';
    throw fail(`elements of type ${descr}${what} are not supported; save numbers or booleans`);
  }
  const count = elementCount(shape);
  const size = rawDtypes[dtype];
  if (count === undefined || count * size !== data.length) {
    throw fail(`it has ${data.length} bytes of data, which is not ${dtype} [${shape.join(', ')}]`);
  }
  const native = descr[0] === '>' && size > 1 ? swapped(data, size) : data;
  return { dtype, shape, data: fortran && shape.length > 1 ? toRowMajor(native, shape, size) : native };
}

/** Reads an array of strings (`U` or `S`); undefined for any other type. Errors: BAD_DATA for anything malformed. */
export function parseNpyTexts(bytes: Uint8Array, where: string, file?: string): NpyTexts | undefined {
  const { descr, fortran, shape, data, fail } = contentOf(bytes, where, file);
  const [, order, kind, length] = /^([<>|=])([US])(\d+)$/.exec(descr) ?? [];
  if (kind === undefined) return undefined;
  const unit = kind === 'U' ? 4 : 1;
  const size = Number(length) * unit;
  const count = elementCount(shape);
  if (count === undefined || count * size !== data.length)
    throw fail(`it has ${data.length} bytes of data, which is not ${descr} [${shape.join(', ')}]`);
  const native = order === '>' && unit > 1 ? swapped(data, unit) : data;
  const inOrder = Buffer.from(fortran && shape.length > 1 ? toRowMajor(native, shape, size) : native);
  const text = (part: Buffer): string => {
    if (unit === 1) return part.toString('utf8');
    const points = Array.from({ length: part.length / 4 }, (_, i) => part.readUInt32LE(4 * i));
    if (points.some((point) => point > 0x10ffff)) throw fail('it has characters that do not exist');
    return String.fromCodePoint(...points);
  };
  const texts = Array.from({ length: count }, (_, i) =>
    text(inOrder.subarray(i * size, (i + 1) * size)).replace(/\0+$/, ''),
  );
  return { shape, texts };
}

/** Encodes an array as a .npy file (version 1, C order). Errors: BAD_DATA for bfloat16, which NumPy does not have. */
export function encodeNpy(tensor: RawTensor): Uint8Array {
  const code = Object.keys(descriptors).find((key) => descriptors[key] === tensor.dtype);
  if (code === undefined) throw badData(`${tensor.dtype} cannot be stored in .npy format`);
  const order = rawDtypes[tensor.dtype] === 1 ? '|' : '<';
  const shape = tensor.shape.length === 1 ? `${tensor.shape[0]},` : tensor.shape.join(', ');
  const text = `{'descr': '${order}${code}', 'fortran_order': False, 'shape': (${shape}), }`;
  const start = Math.ceil((10 + text.length + 1) / 64) * 64;
  const bytes = Buffer.alloc(start + tensor.data.length, ' ');
  bytes.write(`${magic}\x01\x00`, 'latin1');
  bytes.writeUInt16LE(start - 10, 8);
  bytes.write(text, 10, 'latin1');
  bytes[start - 1] = 0x0a;
  bytes.set(tensor.data, start);
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}

interface Header {
  readonly descr: string;
  readonly fortran: boolean;
  readonly shape: readonly number[];
}

/** The three keys of the dict, in any order; undefined if one is missing or not in NumPy's form. */
function parseHeader(text: string): Header | undefined {
  const descr = /'descr':\s*'([^']*)'/.exec(text)?.[1];
  const fortran = /'fortran_order':\s*(True|False)/.exec(text)?.[1];
  const shape = /'shape':\s*\(([\d,\sL]*)\)/.exec(text)?.[1];
  if (descr === undefined || fortran === undefined || shape === undefined) return undefined;
  const dims = shape.split(',').map((dim) => dim.trim().replace(/L$/, '')); // Python 2 wrote 3L
  if (dims.at(-1) === '') dims.pop();
  if (!dims.every((dim) => /^\d+$/.test(dim))) return undefined;
  return { descr, fortran: fortran === 'True', shape: dims.map(Number) };
}

function swapped(data: Uint8Array, size: number): Uint8Array {
  const out = new Uint8Array(data.length);
  for (let i = 0; i < data.length; i += size) {
    for (let k = 0; k < size; k++) out[i + k] = data[i + size - 1 - k] ?? 0;
  }
  return out;
}

/** Converts elements of `size` bytes from first-axis-fastest order to last-axis-fastest order. */
function toRowMajor(data: Uint8Array, shape: readonly number[], size: number): Uint8Array {
  const out = new Uint8Array(data.length);
  const strides: number[] = [];
  let stride = size;
  for (const dim of shape) {
    strides.push(stride);
    stride *= dim;
  }
  const index = shape.map(() => 0);
  let from = 0;
  for (let to = 0; to < out.length; to += size) {
    for (let k = 0; k < size; k++) out[to + k] = data[from + k] ?? 0;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const next = (index[axis] ?? 0) + 1;
      from += strides[axis] ?? 0;
      if (next < (shape[axis] ?? 0)) {
        index[axis] = next;
        break;
      }
      index[axis] = 0;
      from -= next * (strides[axis] ?? 0);
    }
  }
  return out;
}
