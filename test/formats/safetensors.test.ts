import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { bytesOf, isRawDtype, type RawTensor, rawDtypes, toFloat32 } from '../../src/formats/rawTensor.ts';
import {
  encodeSafetensors,
  openSafetensors,
  parseSafetensors,
  writeSafetensors,
} from '../../src/formats/safetensors.ts';
import { coded } from '../support/coded.ts';
import { describeShared, sharedPath } from '../support/sharedMaterial.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const folder = temporaryFolder();
const f32 = (...values: number[]): RawTensor => ({
  dtype: 'F32',
  shape: [values.length],
  data: bytesOf(Float32Array.from(values)),
});

/** A file with this header text (padded by nothing) and `payload` zero bytes. */
function raw(header: unknown, payload: number, claimed?: bigint): Uint8Array {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const bytes = Buffer.alloc(8 + text.length + payload);
  bytes.writeBigUInt64LE(claimed ?? BigInt(text.length));
  bytes.set(text, 8);
  return bytes;
}

describe('writing', () => {
  it('orders by type and name, pads the header to 8 bytes, and gives the same bytes for any order of arrival', () => {
    const tensors: [string, RawTensor][] = [
      ['10', f32(1)],
      ['9', f32(2, 3)],
      ['b', { dtype: 'I64', shape: [], data: bytesOf(BigInt64Array.of(7n)) }],
      ['a', { dtype: 'U8', shape: [3], data: Uint8Array.of(1, 2, 3) }],
    ];
    const bytes = Buffer.concat(encodeSafetensors(tensors));
    const length = Number(bytes.readBigUInt64LE());
    expect(length % 8).toBe(0);
    expect(bytes.subarray(8, 8 + length).toString()).toMatch(
      /^\{"__metadata__":\{"format":"pt"\},"b":.*"10":.*"9":.*"a":\{"dtype":"U8","shape":\[3\],"data_offsets":\[20,23\]\}\} *$/,
    );
    expect(Buffer.concat(encodeSafetensors(tensors.toReversed()))).toEqual(bytes);
  });

  it('round-trips every type, scalars and empty tensors', () => {
    const dtypes = Object.keys(rawDtypes).filter(isRawDtype);
    const tensors = dtypes.flatMap((dtype): [string, RawTensor][] => {
      const size = rawDtypes[dtype];
      const t = (shape: number[], bytes: number): RawTensor => ({
        dtype,
        shape,
        data: Uint8Array.from({ length: bytes }, (_, i) => i * 7),
      });
      return [
        [`${dtype}.matrix`, t([2, 3], 6 * size)],
        [`${dtype}.scalar`, t([], size)],
        [`${dtype}.empty`, t([0, 5], 0)],
      ];
    });
    const file = join(folder, 'all.safetensors');
    writeSafetensors(file, tensors, { b: '2', a: '1' });
    const opened = openSafetensors(file);
    const parsed = parseSafetensors(new Uint8Array(readFileSync(file)));
    for (const [name, tensor] of tensors) {
      expect(opened.read(name)).toEqual(tensor);
      expect(parsed.tensors.get(name)).toEqual(tensor);
    }
    expect(opened.read('none')).toBeUndefined();
    expect([...opened.metadata]).toEqual([
      ['a', '1'],
      ['b', '2'],
    ]);
    opened.close();
  });

  it('refuses a tensor whose bytes do not fit its shape, and two of one name', () => {
    expect(() => encodeSafetensors([['x', { ...f32(1), shape: [2] }]])).toThrow(
      expect.toSatisfy(coded('BAD_SAFETENSORS', '"x"', '4 bytes')),
    );
    expect(() =>
      encodeSafetensors([
        ['x', f32(1)],
        ['x', f32(1)],
      ]),
    ).toThrow(expect.toSatisfy(coded('BAD_SAFETENSORS')));
  });

  it('says what failed and leaves nothing behind where it cannot write', () => {
    expect(() => writeSafetensors(join(folder, 'none', 'x.safetensors'), [])).toThrow(
      expect.toSatisfy(coded('WRITE_FAILED', 'ENOENT')),
    );
  });
});

describe('reading', () => {
  const entry = (dtype: string, shape: number[], start: number, end: number) => ({
    dtype,
    shape,
    data_offsets: [start, end],
  });

  it('reads unaligned float32', () => {
    const bytes = raw({ x: entry('F32', [1], 0, 4) }, 4);
    new DataView(bytes.buffer, bytes.byteOffset).setFloat32(bytes.length - 4, 1.5, true);
    const moved = new Uint8Array(bytes.length + 1);
    moved.set(bytes, 1);
    for (const b of [bytes, moved.subarray(1)]) {
      const tensor = parseSafetensors(b).tensors.get('x');
      expect(tensor && [...toFloat32(tensor)]).toEqual([1.5]);
    }
  });

  it('keeps names that are special to JavaScript', () => {
    const { tensors } = parseSafetensors(raw('{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1));
    expect([...tensors.keys()]).toEqual(['__proto__']);
  });

  const hostile: [string, Uint8Array, string][] = [
    ['an empty file', new Uint8Array(), 'too few'],
    ['a huge header', raw('{}', 0, 2n ** 63n), 'at most'],
    ['a header beyond the end', raw('{}', 0, 99n), 'only 10'],
    ['text that is not JSON', raw('{x', 0), 'not JSON'],
    ['invalid UTF-8', Uint8Array.of(...raw('{"?":1}', 0).map((b) => (b === 0x3f ? 0xff : b))), 'not JSON'],
    ['an array', raw('[]', 0), 'not a JSON object'],
    ['an entry that is no object', raw({ x: 3 }, 0), '"x"'],
    ['an unknown type', raw({ x: entry('F4', [1], 0, 1) }, 1), 'F4'],
    ['a negative size', raw({ x: entry('U8', [-1], 0, 1) }, 1), 'shape'],
    ['a NaN size', raw('{"x":{"dtype":"U8","shape":[NaN],"data_offsets":[0,1]}}', 1), 'not JSON'],
    ['a fractional offset', raw({ x: entry('U8', [1], 0.5, 1.5) }, 1), 'data_offsets'],
    ['dims that overflow', raw({ x: entry('F32', [2 ** 40, 2 ** 40], 0, 4) }, 4), 'shape'],
    ['reversed offsets', raw({ x: entry('U8', [1], 1, 0) }, 1), 'bytes'],
    ['a wrong length', raw({ x: entry('F32', [2], 0, 4) }, 4), 'takes 8'],
    ['a range beyond the end', raw({ x: entry('U8', [9], 0, 9) }, 4), 'end at byte'],
    ['bytes after the last tensor', raw({ x: entry('U8', [1], 0, 1) }, 4), 'end at byte'],
    ['a hole', raw({ x: entry('U8', [1], 0, 1), y: entry('U8', [1], 2, 3) }, 3), 'hole'],
    ['an overlap', raw({ x: entry('U8', [2], 0, 2), y: entry('U8', [2], 1, 3) }, 3), 'overlaps'],
    ['metadata that is no string', raw({ __metadata__: { a: 1 } }, 0), '"a"'],
  ];
  it.each(hostile)('refuses %s', (name, bytes, reason) => {
    const file = join(folder, `${name}.safetensors`);
    writeFileSync(file, bytes);
    expect(() => parseSafetensors(bytes)).toThrow(expect.toSatisfy(coded('BAD_SAFETENSORS', reason)));
    expect(() => openSafetensors(file)).toThrow(expect.toSatisfy(coded('BAD_SAFETENSORS', reason)));
  });

  it('says which file is missing or is a folder', () => {
    expect(() => openSafetensors(join(folder, 'absent'))).toThrow(expect.toSatisfy(coded('FILE_NOT_FOUND', 'ENOENT')));
    expect(() => openSafetensors(folder)).toThrow(expect.toSatisfy(coded('FILE_NOT_FOUND', 'folder')));
  });
});

describeShared('a file of the reference implementation', 'parity/bert_cls/init', () => {
  it('is written back byte for byte', () => {
    const bytes = readFileSync(sharedPath('parity/bert_cls/init/adapter_model.safetensors'));
    expect(Buffer.concat(encodeSafetensors(parseSafetensors(bytes).tensors))).toEqual(bytes);
  });
});
