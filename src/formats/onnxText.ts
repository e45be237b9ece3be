/**
 * Facts of ONNX's textual syntax that its reader and its writer share: identifiers, keywords, type names, and the text
 * of tensor elements.
 *
 * Source: https://github.com/onnx/onnx/blob/main/docs/Syntax.md and onnx/defs/parser.cc. Where the two differ, the
 * parser wins.
 */
import type { Attr, Dim, ValueType } from '../graph/model.ts';
import { type DataType, dataTypeFromText, dataTypeText } from '../graph/tensor.ts';
import { float32FromText, float32Text, float64FromText, float64Text } from './floatText.ts';

/** Attribute types with the numbers of AttributeProto.AttributeType. */
export const attrTypes = {
  float: 1,
  int: 2,
  string: 3,
  tensor: 4,
  graph: 5,
  floats: 6,
  ints: 7,
  strings: 8,
  tensors: 9,
  graphs: 10,
  sparse_tensor: 11,
  sparse_tensors: 12,
  type_proto: 13,
  type_protos: 14,
} as const;

export type AttrTypeName = keyof typeof attrTypes;

export const isAttrTypeName = (s: string): s is AttrTypeName => Object.hasOwn(attrTypes, s);

export function attrTypeName(n: number): AttrTypeName | undefined {
  return Object.keys(attrTypes).find((k): k is AttrTypeName => isAttrTypeName(k) && attrTypes[k] === n);
}

/** The syntax's keyword for an attribute's kind. */
export const kindNames = {
  float: 'float',
  int: 'int',
  string: 'string',
  tensor: 'tensor',
  graph: 'graph',
  floats: 'floats',
  ints: 'ints',
  strings: 'strings',
  tensors: 'tensors',
  graphs: 'graphs',
  sparse: 'sparse_tensor',
  sparses: 'sparse_tensors',
  type: 'type_proto',
  types: 'type_protos',
} as const satisfies Record<Exclude<Attr['kind'], 'ref'>, AttrTypeName>;

/** Words that open a type that is not a tensor type. */
export const typeWords = ['seq', 'map', 'optional', 'sparse_tensor', 'opaque'] as const;

const words: ReadonlySet<string> = new Set(typeWords);

/** Whether a bare word is read as a type here. */
export const isTypeWord = (s: string): boolean => words.has(s) || dataTypeFromText(s) !== undefined;

export const isIdentifier = (s: string): boolean => /^[A-Za-z_][A-Za-z0-9_]*$/.test(s);

/** "" and "ai.onnx" are one domain. */
export const domainOf = (domain: string): string => (domain === 'ai.onnx' ? '' : domain);

export const isQualified = (s: string): boolean => s.split('.').every(isIdentifier);

/**
 * The text of a name: bare if that is unambiguous, otherwise quoted. The only escapes are \" and \\; line breaks are
 * literal.
 */
export function nameText(name: string): string {
  return isIdentifier(name) && !isTypeWord(name) ? name : quoted(name);
}

export function quoted(s: string): string {
  return `"${s.replace(/["\\]/g, '\\$&')}"`;
}

const dimText = (d: Dim): string =>
  d === null ? '?' : typeof d === 'number' ? String(d) : isIdentifier(d) ? d : quoted(d);

/** `float` is a scalar, `float[]` has an unknown rank. */
export function tensorTypeText(dtype: DataType, shape: readonly Dim[] | undefined): string {
  const dims = shape === undefined ? '[]' : shape.length === 0 ? '' : `[${shape.map(dimText).join(',')}]`;
  return `${dataTypeText(dtype)}${dims}`;
}

/** The text of a type, undefined if the syntax cannot express it. */
export function typeText(type: ValueType | undefined): string | undefined {
  switch (type?.kind) {
    case undefined:
      return undefined;
    case 'tensor':
    case 'sparse': {
      if (type.dtype === undefined) return undefined;
      const text = tensorTypeText(type.dtype, type.shape);
      return type.kind === 'tensor' ? text : `sparse_tensor(${text})`;
    }
    case 'sequence':
    case 'optional': {
      const elem = typeText(type.elem);
      return elem && `${type.kind === 'sequence' ? 'seq' : 'optional'}(${elem})`;
    }
    case 'map': {
      const value = typeText(type.value);
      return value && `map(${dataTypeText(type.key)}, ${value})`;
    }
    case 'opaque':
      if (type.domain === '') return type.name === '' || isQualified(type.name) ? `opaque(${type.name})` : undefined;
      return isQualified(type.domain) && isIdentifier(type.name) ? `opaque(${type.domain},${type.name})` : undefined;
  }
}

/**
 * The text form of one number in a tensor's braces. A complex element has two numbers, several sub-byte elements share
 * one.
 */
export interface NumberCodec {
  readonly bytes: number;
  /** Only integer literals are allowed. */
  readonly integer: boolean;
  read(view: DataView, at: number): string;
  /** Writes a literal; false if it is malformed or out of range. */
  write(view: DataView, at: number, literal: string): boolean;
}

const float32: NumberCodec = {
  bytes: 4,
  integer: false,
  read: (view, at) => {
    const x = view.getFloat32(at, true);
    return Number.isNaN(x) && view.getUint8(at + 3) >= 0x80 ? '-nan' : float32Text(x);
  },
  write: (view, at, literal) => {
    const x = float32FromText(literal);
    // Set explicitly, because the engine chooses the bits of a NaN that passes through a number.
    if (Number.isNaN(x)) view.setUint32(at, literal.startsWith('-') ? 0xffc00000 : 0x7fc00000, true);
    else if (x !== undefined) view.setFloat32(at, x, true);
    return x !== undefined;
  },
};

const float64: NumberCodec = {
  bytes: 8,
  integer: false,
  read: (view, at) => {
    const x = view.getFloat64(at, true);
    return Number.isNaN(x) && view.getUint8(at + 7) >= 0x80 ? '-nan' : float64Text(x);
  },
  write: (view, at, literal) => {
    const x = float64FromText(literal);
    if (Number.isNaN(x)) view.setBigUint64(at, literal.startsWith('-') ? 0xfff8n << 48n : 0x7ff8n << 48n, true);
    else if (x !== undefined) view.setFloat64(at, x, true);
    return x !== undefined;
  },
};

function whole(
  bytes: number,
  [least, most]: readonly [number, number],
  read: (view: DataView, at: number) => number,
  write: (view: DataView, at: number, x: number) => void,
): NumberCodec {
  return {
    bytes,
    integer: true,
    read: (view, at) => String(read(view, at)),
    write: (view, at, literal) => {
      const x = Number(literal);
      const fits = Number.isInteger(x) && x >= least && x <= most;
      if (fits) write(view, at, x);
      return fits;
    },
  };
}

function big(
  [least, most]: readonly [bigint, bigint],
  read: (view: DataView, at: number) => bigint,
  write: (view: DataView, at: number, x: bigint) => void,
): NumberCodec {
  return {
    bytes: 8,
    integer: true,
    read: (view, at) => String(read(view, at)),
    write: (view, at, literal) => {
      const x = /^-?\d+$/.test(literal) ? BigInt(literal) : undefined;
      const fits = x !== undefined && x >= least && x <= most;
      if (fits) write(view, at, x);
      return fits;
    },
  };
}

const uint8 = whole(
  1,
  [0, 255],
  (v, at) => v.getUint8(at),
  (v, at, x) => v.setUint8(at, x),
);
const uint16 = whole(
  2,
  [0, 65535],
  (v, at) => v.getUint16(at, true),
  (v, at, x) => v.setUint16(at, x, true),
);

/**
 * float16, bfloat16 and the types below a byte are written as bit patterns: the parser stores their integers as they
 * are.
 */
export const numberCodecs: Readonly<Record<Exclude<DataType, 'string'>, NumberCodec>> = {
  float32,
  float64,
  uint8,
  uint16,
  bool: uint8,
  int8: whole(
    1,
    [-128, 127],
    (v, at) => v.getInt8(at),
    (v, at, x) => v.setInt8(at, x),
  ),
  int16: whole(
    2,
    [-32768, 32767],
    (v, at) => v.getInt16(at, true),
    (v, at, x) => v.setInt16(at, x, true),
  ),
  int32: whole(
    4,
    [-(2 ** 31), 2 ** 31 - 1],
    (v, at) => v.getInt32(at, true),
    (v, at, x) => v.setInt32(at, x, true),
  ),
  uint32: whole(
    4,
    [0, 2 ** 32 - 1],
    (v, at) => v.getUint32(at, true),
    (v, at, x) => v.setUint32(at, x, true),
  ),
  int64: big(
    [-(1n << 63n), (1n << 63n) - 1n],
    (v, at) => v.getBigInt64(at, true),
    (v, at, x) => v.setBigInt64(at, x, true),
  ),
  uint64: big(
    [0n, (1n << 64n) - 1n],
    (v, at) => v.getBigUint64(at, true),
    (v, at, x) => v.setBigUint64(at, x, true),
  ),
  complex64: float32,
  complex128: float64,
  float16: uint16,
  bfloat16: uint16,
  float8e4m3fn: uint8,
  float8e4m3fnuz: uint8,
  float8e5m2: uint8,
  float8e5m2fnuz: uint8,
  float8e8m0: uint8,
  float4e2m1: uint8,
  uint4: uint8,
  int4: uint8,
  uint2: uint8,
  int2: uint8,
};
