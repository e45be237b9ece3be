import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { encodeModel } from '../../src/emit/index.ts';
import { LoraifyError } from '../../src/errors.ts';
import { stream } from '../../src/graph/random.ts';
import { bfloatToNumber, type HalfType, halfToNumber, roundBits } from '../../src/graph/rounding.ts';
import { bytesOf, chunks, rounded, type Tensor as Stored } from '../../src/graph/tensor.ts';
import { parseText } from '../../src/parser/index.ts';

const types = ['float16', 'bfloat16'] as const;
const numberOf = { float16: halfToNumber, bfloat16: bfloatToNumber };

function round(values: Float32Array, type: HalfType): Uint16Array {
  const to = new Uint16Array(values.length);
  expect(roundBits(new Uint32Array(values.buffer), to, values.length, type)).toBe(-1);
  return to;
}

/** What ONNX Runtime's Cast makes of the numbers, as numbers. */
async function castByRuntime(values: Float32Array, type: HalfType): Promise<Float32Array> {
  const model = parseText(`<ir_version: 8, opset_import: ["" : 18]>
    main (float[N] x) => (float[N] y) { h = Cast <to: int = ${type === 'float16' ? 10 : 16}> (x)  y = Cast <to: int = 1> (h) }`);
  // Its optimizer drops such a pair of casts.
  const session = await InferenceSession.create(encodeModel(model), { graphOptimizationLevel: 'disabled' });
  const { y } = await session.run({ x: new Tensor('float32', values, [values.length]) });
  await session.release();
  if (!(y?.data instanceof Float32Array)) throw new Error('no result');
  return y.data;
}

describe.each(types)('rounding to %s', (type) => {
  it('keeps every number of the type, NaN and infinities included', () => {
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const back = round(Float32Array.from(all, numberOf[type]), type);
    const same = (bits: number): boolean =>
      Number.isNaN(numberOf[type](bits)) ? Number.isNaN(numberOf[type](back[bits] ?? 0)) : back[bits] === bits;
    expect([...all.filter((bits) => !same(bits))]).toEqual([]);
  });

  it('goes to the even neighbour half way between two numbers, and to the nearer one beside that', () => {
    // All positive finite numbers and the next one, subnormals first.
    const last = type === 'float16' ? 0x7bff : 0x7f7f;
    const [below, halfway, above, expected]: [number[], number[], number[], number[]] = [[], [], [], []];
    const nudge = (x: number, by: number): number => {
      const bits = new Uint32Array(Float32Array.of(x).buffer);
      bits[0] = (bits[0] ?? 0) + by;
      return new Float32Array(bits.buffer)[0] ?? 0;
    };
    for (let bits = 0; bits < last; bits++) {
      const middle = (numberOf[type](bits) + numberOf[type](bits + 1)) / 2;
      halfway.push(middle);
      below.push(nudge(middle, -1));
      above.push(nudge(middle, 1));
      expected.push(bits);
    }
    const [low, even, high] = [below, halfway, above].map((v) => round(Float32Array.from(v), type));
    expect(low).toEqual(Uint16Array.from(expected));
    expect(even).toEqual(Uint16Array.from(expected, (b) => b + (b & 1)));
    expect(high).toEqual(Uint16Array.from(expected, (b) => b + 1));
  });

  it("is ONNX Runtime's Cast", async () => {
    const random = stream(3, 'rounding');
    // All exponents that the type has; signs and fractions at random.
    const [least, span] = type === 'float16' ? [-30, 45] : [-126, 253];
    const values = Float32Array.from(
      { length: 50_000 },
      () => (1 + random.uniform()) * 2 ** (least + random.integer(span)) * (random.integer(2) === 0 ? 1 : -1),
    );
    expect(Float32Array.from(round(values, type), numberOf[type])).toEqual(await castByRuntime(values, type));
  });

  it('says which number is too large', () => {
    const most = numberOf[type](type === 'float16' ? 0x7bff : 0x7f7f);
    const beyond = type === 'float16' ? 65520 : 3.4e38;
    const values = Float32Array.of(1, -most, Infinity, -Infinity, NaN, -beyond, 1);
    expect(roundBits(new Uint32Array(values.buffer), new Uint16Array(7), 7, type)).toBe(5);
  });
});

describe('a rounded tensor', () => {
  const values = Float32Array.from({ length: 70_001 }, (_, i) => Math.sin(i) * 2 ** ((i % 31) - 20));
  const bytes = new Uint8Array(values.buffer);
  const tensor = (data: Uint8Array, cut: number): Stored => ({
    dtype: 'float32',
    dims: [data.length / 4],
    byteLength: data.length,
    payload: {
      kind: 'computed',
      chunks: function* () {
        for (let at = 0; at < data.length; at += cut) yield data.subarray(at, at + cut);
      },
    },
  });

  it('has the same bytes however its source is cut', () => {
    const expected = new Uint8Array(round(values, 'float16').buffer);
    for (const cut of [3, 4093, 96 << 10, bytes.length]) {
      const half = rounded(tensor(bytes, cut), 'float16', 'w');
      expect(half.byteLength).toBe(expected.length);
      expect(Buffer.compare(bytesOf(half), expected), `pieces of ${cut}`).toBe(0);
    }
  });

  it('is refused by name where its type cannot hold a number', () => {
    const large = Float32Array.of(1, 65519, 70000);
    const half = rounded(tensor(new Uint8Array(large.buffer), 12), 'float16', 'encoder.weight');
    const read = (): Uint8Array[] => [...chunks(half)];
    expect(read).toThrow(LoraifyError);
    expect(read).toThrow('weight "encoder.weight" has the value 70000, which is out of range for float16');
    expect(() => [...chunks(rounded(tensor(new Uint8Array(large.buffer), 12), 'bfloat16', 'w'))]).not.toThrow();
  });
});
