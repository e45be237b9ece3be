/** ONNX Runtime's adapter file: written and read again, files of its own writer, and files that lie. */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeOnnxAdapter, type OnnxAdapter, parseOnnxAdapter } from '../../src/adapter/onnxAdapter.ts';
import type { PortableTensor } from '../../src/adapter/portable.ts';
import { LoraifyError } from '../../src/errors.ts';
import { coded } from '../support/coded.ts';
import { describeShared, sharedPath } from '../support/sharedMaterial.ts';

const floats = (dims: number[], start = 0): PortableTensor => ({
  type: 'float32',
  dims,
  bytes: new Uint8Array(Float32Array.from({ length: dims.reduce((n, d) => n * d, 1) }, (_, i) => start + i).buffer),
});

const adapter = (tensors: Record<string, PortableTensor>): OnnxAdapter => ({
  adapterVersion: 3,
  modelVersion: 7,
  tensors: new Map(Object.entries(tensors)),
});

const some = adapter({
  'layers.0.q.lora_A': floats([3, 2]),
  'layers.0.q.lora_B': floats([2, 5], 10),
  'é.lora_A': { type: 'float16', dims: [3, 1], bytes: Uint8Array.of(0, 60, 0, 61, 0, 62) },
  empty: floats([0, 4]),
  bytes: { type: 'int8', dims: [3], bytes: Uint8Array.of(1, 2, 255) },
});

describe('written', () => {
  it('reads back as it was, in the order given', () => {
    const read = parseOnnxAdapter(encodeOnnxAdapter(some));
    expect(read).toEqual(some);
    expect([...read.tensors.keys()]).toEqual([...some.tensors.keys()]);
  });

  it('has the identifier, version 1, and data on multiples of 8', () => {
    const bytes = encodeOnnxAdapter(some);
    expect(Buffer.from(bytes.subarray(4, 8)).toString()).toBe('TORT');
    for (const { bytes: data } of parseOnnxAdapter(bytes).tensors.values())
      expect((data.byteOffset - bytes.byteOffset) % 8).toBe(0);
  });

  it('is the same bytes for the same tensors', () => {
    expect(encodeOnnxAdapter(some)).toEqual(encodeOnnxAdapter(some));
  });

  it('refuses what ONNX Runtime would not read', () => {
    expect(() => encodeOnnxAdapter(adapter({ s: floats([]) }))).toThrow(
      expect.toSatisfy(coded('BAD_ADAPTER', '"s"', 'scalar')),
    );
    expect(() => encodeOnnxAdapter(adapter({ s: { ...floats([2]), dims: [3] } }))).toThrow(
      expect.toSatisfy(coded('BAD_ADAPTER', '"s"', '8 bytes', '[3]')),
    );
  });

  it('any tensors survive', () => {
    const tensor = fc
      .tuple(fc.array(fc.nat(4), { minLength: 1, maxLength: 4 }), fc.integer())
      .map(([dims, at]) => floats(dims, at));
    fc.assert(
      fc.property(fc.dictionary(fc.string({ minLength: 1 }), tensor), (tensors) => {
        const given = { adapterVersion: 1, modelVersion: 1, tensors: new Map(Object.entries(tensors)) };
        // toEqual knows names such as __proto__ as entries of a map only.
        expect(parseOnnxAdapter(encodeOnnxAdapter(given))).toEqual(given);
      }),
      { numRuns: 200, seed: 1 },
    );
  });
});

describe('refused', () => {
  const bytes = encodeOnnxAdapter(some);

  it.each([
    ['another format', Uint8Array.from(bytes).fill(0, 4, 8), 'TORT'],
    ['nothing', new Uint8Array(0), 'TORT'],
  ])('%s', (_, given, reason) => {
    expect(() => parseOnnxAdapter(given, 'a.onnx_adapter')).toThrow(expect.toSatisfy(coded('BAD_ADAPTER', reason)));
  });

  it('another format version', () => {
    // The only int32 of the root table that is 1.
    const view = Buffer.from(bytes);
    const root = view.readUint32LE(0);
    const vtable = root - view.readInt32LE(root);
    view.writeInt32LE(2, root + view.readUint16LE(vtable + 4));
    expect(() => parseOnnxAdapter(view)).toThrow(expect.toSatisfy(coded('BAD_ADAPTER', 'format version is 2')));
  });

  it('every cut and every changed byte gives tensors or a coded error', () => {
    const attempt = (given: Uint8Array): boolean => {
      try {
        for (const { dims, bytes: data } of parseOnnxAdapter(given).tensors.values()) {
          expect(data.buffer).toBe(given.buffer);
          expect(dims.every((d) => d >= 0)).toBe(true);
        }
        return true;
      } catch (error) {
        if (!(error instanceof LoraifyError)) throw error;
        expect(error.code).toMatch(/^BAD_(ADAPTER|TENSOR)$/);
        return false;
      }
    };
    for (let length = 0; length < bytes.length - 8; length++) expect(attempt(bytes.slice(0, length))).toBe(false);
    let read = 0;
    for (let at = 0; at < bytes.length; at++)
      for (const value of [0, 1, 127, 128, 255]) {
        const changed = bytes.slice();
        changed[at] = value;
        if (attempt(changed)) read++;
      }
    // Most bytes are numbers of tensors, which may be anything.
    expect(read).toBeGreaterThan(0);
  });
});

describeShared('of ONNX Runtime', ['models/micro/lora_two_params_model.onnx_adapter'], () => {
  it('its own test file is read, with data that is not aligned', () => {
    const bytes = readFileSync(sharedPath('models/micro/lora_two_params_model.onnx_adapter'));
    const { tensors } = parseOnnxAdapter(bytes);
    const values = [...tensors].map(([name, t]) => [
      name,
      t.type,
      t.dims,
      [...new Float32Array(Uint8Array.from(t.bytes).buffer)],
    ]);
    expect(values).toEqual([
      ['lora_param_a', 'float32', [4, 1], [3, 4, 5, 6]],
      ['lora_param_b', 'float32', [1, 4], [7, 8, 9, 10]],
    ]);
  });
});
