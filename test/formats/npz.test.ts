import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { zipSync } from 'fflate';
import { describe, expect, it } from 'vitest';
import { encodeNpy, parseNpy, parseNpyTexts } from '../../src/formats/npy.ts';
import { encodeNpz, npzNames, parseNpz, readNpz, writeNpz } from '../../src/formats/npz.ts';
import { bytesOf, elements, isRawDtype, type RawTensor, rawDtypes, toFloat32 } from '../../src/formats/rawTensor.ts';
import { coded } from '../support/coded.ts';
import { describeShared, sharedPath } from '../support/sharedMaterial.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const folder = temporaryFolder();

/** A .npy file with this header text in format version `version`. */
function npy(header: string, data: Uint8Array, version = 1): Uint8Array {
  const text = Buffer.from(`${header}\n`);
  const length = Buffer.alloc(version === 1 ? 2 : 4);
  if (version === 1) length.writeUInt16LE(text.length);
  else length.writeUInt32LE(text.length);
  return new Uint8Array(
    Buffer.concat([Buffer.from([0x93]), Buffer.from('NUMPY'), Buffer.from([version, 0]), length, text, data]),
  );
}

const f4 = (...values: number[]) => bytesOf(Float32Array.from(values));

describe('npy', () => {
  it.each([1, 2, 3])('reads version %d', (version) => {
    const bytes = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", f4(1, 2), version);
    expect([...elements(parseNpy(bytes, 'x'))]).toEqual([1, 2]);
  });

  it('swaps big-endian elements', () => {
    const bytes = npy("{'descr': '>i2', 'fortran_order': False, 'shape': (2,)}", Uint8Array.of(1, 2, 3, 4));
    expect([...elements(parseNpy(bytes, 'x'))]).toEqual([0x0102, 0x0304]);
  });

  it('turns Fortran order into C order', () => {
    // np.arange(24).reshape(2, 3, 4) stored with the first axis fastest
    const stored: number[] = [];
    for (let k = 0; k < 4; k++) for (let j = 0; j < 3; j++) for (let i = 0; i < 2; i++) stored.push(i * 12 + j * 4 + k);
    const bytes = npy("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3, 4)}", f4(...stored));
    expect([...elements(parseNpy(bytes, 'x'))]).toEqual(Array.from({ length: 24 }, (_, i) => i));
  });

  it('round-trips every type, scalars and empty arrays', () => {
    for (const dtype of Object.keys(rawDtypes).filter(isRawDtype)) {
      if (dtype === 'BF16') continue;
      for (const shape of [[2, 3], [4], [], [0, 2]]) {
        const bytes = shape.reduce((a, b) => a * b, rawDtypes[dtype]);
        const tensor: RawTensor = { dtype, shape, data: Uint8Array.from({ length: bytes }, (_, i) => i) };
        const file = encodeNpy(tensor);
        expect((file.length - bytes) % 64).toBe(0);
        expect(parseNpy(file, 'x')).toEqual(tensor);
      }
    }
    expect(() => encodeNpy({ dtype: 'BF16', shape: [1], data: new Uint8Array(2) })).toThrow(
      expect.toSatisfy(coded('BAD_DATA', 'BF16')),
    );
  });

  it('widens float16', () => {
    const bytes = npy("{'descr': '<f2', 'fortran_order': False, 'shape': (2,)}", Uint8Array.of(0, 0x3c, 0, 0xc0));
    expect([...toFloat32(parseNpy(bytes, 'x'))]).toEqual([1, -2]);
  });

  const dict = (descr: string, shape: string) => `{'descr': ${descr}, 'fortran_order': False, 'shape': ${shape}}`;
  it('reads strings of either byte order, in C order', () => {
    const units = (texts: readonly string[], big: boolean): Uint8Array => {
      const bytes = Buffer.alloc(texts.length * 8);
      for (const [i, text] of texts.entries())
        for (const [k, sign] of [...text].entries())
          if (big) bytes.writeUInt32BE(sign.codePointAt(0) ?? 0, 8 * i + 4 * k);
          else bytes.writeUInt32LE(sign.codePointAt(0) ?? 0, 8 * i + 4 * k);
      return new Uint8Array(bytes);
    };
    const texts = ['a', 'b\u00e9', '', '\u{1f600}'];
    for (const [order, big] of [
      ['<', false],
      ['>', true],
    ] as const)
      expect(parseNpyTexts(npy(dict(`'${order}U2'`, '(4,)'), units(texts, big)), 'x')).toEqual({ shape: [4], texts });
    expect(parseNpyTexts(npy(dict("'|S2'", '(2,)'), Buffer.from('ab\u0063\0')), 'x')?.texts).toEqual(['ab', 'c']);
    expect(parseNpyTexts(npy(dict("'<f4'", '(1,)'), f4(1)), 'x')).toBeUndefined();
    const short = () => parseNpyTexts(npy(dict("'<U2'", '(3,)'), units(texts, false)), 'array "x"');
    expect(short).toThrow(expect.toSatisfy(coded('BAD_DATA', 'array "x"', '32 bytes')));
  });

  it.each([
    ['no magic', new Uint8Array(20), 'not in .npy format'],
    ['nothing', new Uint8Array(), 'not in .npy format'],
    ['an unknown version', npy(dict("'<f4'", '(1,)'), f4(1), 9), 'version 9'],
    ['a header beyond the end', npy(dict("'<f4'", '(1,)'), f4(1)).subarray(0, 30), 'truncated'],
    ['objects', npy(dict("'|O'", '(1,)'), f4(1)), '|O'],
    ['strings', npy(dict("'<U3'", '(1,)'), f4(1)), '<U3'],
    ['complex numbers', npy(dict("'<c8'", '(1,)'), f4(1)), '<c8'],
    ['structured types', npy(dict("[('a', '<f4')]", '(1,)'), f4(1)), 'several fields'],
    ['negative sizes', npy(dict("'<f4'", '(-1,)'), f4(1)), 'malformed'],
    ['too few elements', npy(dict("'<f4'", '(3,)'), f4(1)), '4 bytes'],
    ['too many elements', npy(dict("'<f4'", '()'), f4(1, 2)), '8 bytes'],
    ['overflowing sizes', npy(dict("'<f4'", '(99999999999, 99999999999)'), f4(1)), '4 bytes'],
  ])('refuses %s', (_, bytes, reason) => {
    expect(() => parseNpy(bytes, 'array "x"')).toThrow(expect.toSatisfy(coded('BAD_DATA', 'array "x"', reason)));
  });
});

describe('npz', () => {
  const x: RawTensor = { dtype: 'F32', shape: [2, 1], data: f4(1, 2) };
  const y: RawTensor = { dtype: 'I64', shape: [1], data: bytesOf(BigInt64Array.of(-5n)) };

  it.each([true, false])('round-trips (compress: %s), with order and names kept', (compress) => {
    const file = join(folder, 'a.npz');
    const arrays = [
      ['b0/y', y],
      ['7', x],
      ['1', x],
    ] as const;
    writeNpz(file, arrays, { compress });
    expect([...readNpz(file)]).toEqual(arrays);
    expect(npzNames(readFileSync(file))).toEqual(['b0/y', '7', '1']);
    expect([...readNpz(file, (name) => name === '7').keys()]).toEqual(['7']);
    expect(encodeNpz(arrays, { compress })).toEqual(new Uint8Array(readFileSync(file)));
  });

  it('names the array that is not right', () => {
    const bytes = zipSync({ 'bad.npy': Uint8Array.of(1, 2, 3) });
    expect(() => parseNpz(bytes, 'd.npz')).toThrow(expect.toSatisfy(coded('BAD_DATA', 'array "bad"')));
  });

  it('refuses what is no zip, or is truncated', () => {
    const file = encodeNpz([['x', x]]);
    for (const bytes of [new Uint8Array(), Uint8Array.of(1, 2, 3), new Uint8Array(100), file.subarray(0, 60)]) {
      expect(() => parseNpz(bytes)).toThrow(expect.toSatisfy(coded('BAD_DATA', 'zip')));
    }
  });

  it('refuses bombs: a false size, and a true one', () => {
    const lie = new Uint8Array(encodeNpz([['x', x]]));
    const view = new DataView(lie.buffer);
    const directory = view.getUint32(lie.length - 22 + 16, true);
    view.setUint32(directory + 24, 2 ** 31, true);
    expect(() => parseNpz(lie)).toThrow(expect.toSatisfy(coded('BAD_DATA', 'claims')));

    const zeros = new Uint8Array(2 ** 26);
    const one = zipSync({ 'a.npy': zeros });
    const start = new DataView(one.buffer).getUint32(one.length - 22 + 16, true);
    const entry = one.subarray(start, one.length - 22);
    // 20 directory entries of other names that all point to the same data: 1.25 GiB from 64 KiB
    const entries = Array.from({ length: 20 }, (_, i) => {
      const copy = entry.slice();
      copy[46] = 0x61 + i;
      return copy;
    });
    const end = one.slice(one.length - 22);
    new DataView(end.buffer).setUint16(8, 20, true);
    new DataView(end.buffer).setUint16(10, 20, true);
    const bomb = new Uint8Array(Buffer.concat([one.subarray(0, start), ...entries, end]));
    expect(() => parseNpz(bomb, 'd.npz')).toThrow(expect.toSatisfy(coded('BAD_DATA', 'unpack to more than')));
  });

  it('refuses a directory that promises more entries than there are', () => {
    const bytes = new Uint8Array(encodeNpz([['x', x]]));
    new DataView(bytes.buffer).setUint16(bytes.length - 22 + 8, 60000, true);
    expect(() => parseNpz(bytes)).toThrow(expect.toSatisfy(coded('BAD_DATA', 'damaged')));
  });

  it('says that a file is missing', () => {
    const file = join(folder, 'none.npz');
    expect(() => readNpz(file)).toThrow(expect.toSatisfy(coded('FILE_NOT_FOUND', 'none.npz')));
    writeFileSync(join(folder, 'empty.npz'), '');
    expect(() => readNpz(join(folder, 'empty.npz'))).toThrow(expect.toSatisfy(coded('BAD_DATA')));
  });
});

describeShared('a file of NumPy', 'parity/bert_cls/batches.npz', () => {
  it('is read', () => {
    const arrays = readNpz(sharedPath('parity/bert_cls/batches.npz'));
    const ids = arrays.get('b0/input_ids');
    expect(ids?.dtype).toBe('I64');
    expect(arrays.get('b0/labels')?.shape).toEqual([ids?.shape[0]]);
  });
});
