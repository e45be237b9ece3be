/** Types and tensors of the textual syntax. */
import { didYouMean } from '../errors.ts';
import { isTypeWord, numberCodecs, typeWords } from '../formats/onnxText.ts';
import type { Dim, TensorType, ValueType } from '../graph/model.ts';
import {
  type DataType,
  dataTypeFromText,
  dataTypeText,
  dataTypeTexts,
  elementCount,
  inlineTensor,
  rawByteLength,
  type Tensor,
} from '../graph/tensor.ts';
import type { Literal, TextLexer } from './textLexer.ts';

/** A tensor whose text refers to its elements elsewhere instead of listing them. */
export interface ElidedTensor {
  readonly name: string;
  readonly dtype: DataType;
  readonly dims: readonly number[];
  /** `location: elided` and `sha256` if the printer wrote it. */
  readonly entries: ReadonlyMap<string, string>;
}

/** The content of an elided tensor; without it, elided tensors are refused. */
export type ElidedOption = 'zeros' | ((tensor: ElidedTensor) => Tensor);

/** Deeper nesting does not occur in real models; without a limit a hostile text could exhaust the stack. */
export const deepest = 100;

export function parseType(lex: TextLexer, depth = 0): ValueType {
  if (depth > deepest) throw lex.fail('types are nested too deep');
  const at = lex.at;
  const word = lex.word();
  const dtype = dataTypeFromText(word);
  if (dtype !== undefined) return { kind: 'tensor', dtype, shape: parseShape(lex) };
  const after = `after "${word}"`;
  switch (word) {
    case 'seq':
    case 'optional': {
      lex.expect('(', after);
      const elem = parseType(lex, depth + 1);
      lex.expect(')', 'after the element type');
      return { kind: word === 'seq' ? 'sequence' : 'optional', elem };
    }
    case 'map': {
      lex.expect('(', after);
      const key = elementType(lex);
      lex.expect(',', 'after the key type');
      const value = parseType(lex, depth + 1);
      lex.expect(')', 'after the value type');
      return { kind: 'map', key, value };
    }
    case 'sparse_tensor': {
      lex.expect('(', after);
      const elem = elementType(lex);
      const shape = parseShape(lex);
      lex.expect(')', 'after the tensor type');
      return { kind: 'sparse', dtype: elem, shape };
    }
    case 'opaque':
      lex.expect('(', after);
      return parseOpaque(lex);
    default:
      throw word === '' ? lex.fail(`expected a type, found ${lex.found()}`, at) : unknownType(lex, word, at);
  }
}

export function unknownType(lex: TextLexer, word: string, at: number): Error {
  return lex.fail(`"${word}" is not a type${didYouMean(word, [...dataTypeTexts, ...typeWords])}`, at);
}

export const nextIsType = (lex: TextLexer): boolean => isTypeWord(lex.peekWord());

function elementType(lex: TextLexer): DataType {
  const at = lex.at;
  const word = lex.word();
  const dtype = dataTypeFromText(word);
  if (dtype === undefined) throw unknownType(lex, word, at);
  return dtype;
}

/** No brackets: a scalar. Empty brackets: the rank is unknown. */
function parseShape(lex: TextLexer): Dim[] | undefined {
  if (!lex.matches('[')) return [];
  if (lex.matches(']')) return undefined;
  const dims: Dim[] = [];
  do {
    if (lex.matches('?')) dims.push(null);
    else {
      const name = lex.optionalName();
      const dim = name === undefined ? integer(lex, lex.literal('as a dimension')) : name.name || null;
      // Exporters write -1 for an unknown dim.
      dims.push(typeof dim === 'number' && dim < 0 ? null : dim);
    }
  } while (lex.matches(','));
  lex.expect(']', 'after the dimensions');
  return dims;
}

/** `opaque()`, `opaque(name)` or `opaque(domain, name)`. */
function parseOpaque(lex: TextLexer): ValueType {
  if (lex.matches(')')) return { kind: 'opaque', domain: '', name: '' };
  let first = lex.word();
  while (lex.matches('.')) first += `.${lex.word()}`;
  const name = lex.matches(',') ? lex.word() : undefined;
  lex.expect(')', 'after the name of an opaque type');
  return name === undefined ? { kind: 'opaque', domain: '', name: first } : { kind: 'opaque', domain: first, name };
}

/** An integer that a number holds exactly. */
export function integer(lex: TextLexer, literal: Literal): number {
  const n = Number(literal.text);
  if (literal.kind !== 'int') throw lex.fail(`expected an integer, found ${literal.text}`, literal.at);
  if (!Number.isSafeInteger(n)) throw lex.fail(`${literal.text} is too large here`, literal.at);
  return n;
}

/** The content of a tensor whose type and name were already read. */
export function parseTensor(
  lex: TextLexer,
  type: ValueType | undefined,
  name: string,
  elided: ElidedOption | undefined,
): Tensor {
  const { dtype, dims } = concrete(lex, type, name);
  const label = name === '' ? 'the tensor' : `tensor "${name}"`;
  const at = lex.at;
  if (lex.matches('[')) return external(lex, { name, dtype, dims }, label, at, elided);
  lex.expect('{', `before the elements of ${label}`);
  if (dtype === 'string') return stringTensor(lex, dims, label, at);
  const expected = rawByteLength(dtype, dims, name);
  const codec = numberCodecs[dtype];
  let bytes = new Uint8Array(Math.min(expected, 1024));
  let view = new DataView(bytes.buffer);
  let length = 0;
  if (!lex.matches('}')) {
    do {
      // Grown as elements are read: dims alone must not allocate memory.
      if (length + codec.bytes > bytes.length) {
        const larger = new Uint8Array(Math.max(bytes.length * 2, length + codec.bytes));
        larger.set(bytes);
        bytes = larger;
        view = new DataView(bytes.buffer);
      }
      const literal = lex.literal(`of type ${dataTypeText(dtype)}`);
      if (literal.kind === 'string' || (codec.integer && literal.kind === 'float'))
        throw lex.fail(
          `${label} is of type ${dataTypeText(dtype)}, which is not written like this${bitsHint(dtype)}`,
          literal.at,
        );
      if (!codec.write(view, length, literal.text))
        throw lex.fail(`${literal.text} does not fit ${dataTypeText(dtype)}`, literal.at);
      length += codec.bytes;
    } while (lex.matches(','));
    lex.expect('}', `after the elements of ${label}`);
  }
  if (length !== expected)
    throw lex.fail(`${label} has ${length / codec.bytes} elements for ${expected / codec.bytes}${bitsHint(dtype)}`, at);
  return inlineTensor(dtype, dims, bytes.slice(0, length));
}

function bitsHint(dtype: DataType): string {
  const codec = dtype === 'string' ? undefined : numberCodecs[dtype];
  if (/^u?int[24]$|^float4/.test(dtype))
    return ': several share one byte, the first in its low bits, written as an integer';
  return codec?.integer && dtype.includes('float') ? ': its bit patterns are written as integers' : '';
}

function concrete(
  lex: TextLexer,
  type: ValueType | undefined,
  name: string,
): { readonly dtype: DataType; readonly dims: readonly number[] } {
  const known = (t: ValueType | undefined): t is TensorType => t?.kind === 'tensor';
  if (!known(type) || type.dtype === undefined) throw lex.fail(`"${name}" needs a tensor type to have elements`);
  const dims: number[] = [];
  if (type.shape === undefined) throw lex.fail(`"${name}" needs a shape to have elements`);
  for (const d of type.shape) {
    if (typeof d !== 'number' || d < 0) throw lex.fail(`"${name}" has elements, so its dimensions must be numbers`);
    dims.push(d);
  }
  return { dtype: type.dtype, dims };
}

function stringTensor(lex: TextLexer, dims: readonly number[], label: string, at: number): Tensor {
  const values: Uint8Array[] = [];
  const encoder = new TextEncoder();
  if (!lex.matches('}')) {
    do values.push(encoder.encode(lex.string(`in ${label}`)));
    while (lex.matches(','));
    lex.expect('}', `after the elements of ${label}`);
  }
  if (values.length !== elementCount(dims))
    throw lex.fail(`${label} has ${values.length} elements for ${elementCount(dims)}`, at);
  return { dtype: 'string', dims, byteLength: 0, payload: { kind: 'strings', values } };
}

/** `["location": "…", …]`: the elements are elsewhere. */
function external(
  lex: TextLexer,
  tensor: Omit<ElidedTensor, 'entries'>,
  label: string,
  at: number,
  elided: ElidedOption | undefined,
): Tensor {
  const entries = new Map<string, string>();
  do {
    const key = lex.string('as a key');
    lex.expect(':', 'after the key');
    entries.set(key, lex.string(`as the value of "${key}"`));
  } while (lex.matches(','));
  lex.expect(']', 'after the entries');
  if (typeof elided === 'function') return elided({ ...tensor, entries });
  if (elided === undefined || entries.get('location') !== 'elided')
    throw lex.fail(
      entries.get('location') === 'elided'
        ? `the elements of ${label} were elided: print the model in full to read it back`
        : `the elements of ${label} are in another file, which a text model cannot refer to`,
      at,
    );
  return zeros(tensor.dtype, tensor.dims);
}

function zeros(dtype: DataType, dims: readonly number[]): Tensor {
  const byteLength = rawByteLength(dtype, dims);
  if (dtype === 'string') {
    const values = Array.from({ length: elementCount(dims) }, () => new Uint8Array(0));
    return { dtype, dims, byteLength, payload: { kind: 'strings', values } };
  }
  return {
    dtype,
    dims,
    byteLength,
    payload: {
      kind: 'computed',
      *chunks() {
        const chunk = new Uint8Array(Math.min(byteLength, 1 << 20));
        for (let at = 0; at < byteLength; at += chunk.length) yield chunk.subarray(0, byteLength - at);
      },
    },
  };
}
