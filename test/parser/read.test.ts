import { describe, expect, it } from 'vitest';
import { encodeModel } from '../../src/emit/index.ts';
import {
  type ByteSource,
  bytesOf,
  type DataType,
  dataTypeNumber,
  memorySource,
  rawByteLength,
  type Tensor,
} from '../../src/graph/tensor.ts';
import { parseSource } from '../../src/parser/index.ts';
import { tagBytes, varintBytes } from '../../src/proto/index.ts';
import { concat, message, modelBytes, node, number, tensorBytes, text, valueInfo } from '../support/matMulChain.ts';

const parse = (bytes: Uint8Array) => parseSource(memorySource('m.onnx', bytes)).model;
const x = valueInfo(11, 'x', 1, ['N', 4]);
const y = valueInfo(12, 'y', 1, ['N', 4]);
const relu = node('Relu', ['x'], ['y']);

function tensor(bytes: Uint8Array): Tensor {
  const t = parse(modelBytes(x, relu, y, message(5, bytes))).graph.initializers[0]?.tensor;
  if (t === undefined) throw new Error('no tensor');
  return t;
}

/** A negative int32 or int64 takes ten bytes. */
const varint = (n: number): Uint8Array =>
  n >= 0
    ? varintBytes(n)
    : Uint8Array.from(
        { length: 10 },
        (_, i) => Number((BigInt.asUintN(64, BigInt(n)) >> BigInt(7 * i)) & 127n) | (i < 9 ? 128 : 0),
      );

describe('typed fields become raw bytes', () => {
  const rows: readonly (readonly [DataType, number, readonly number[], readonly number[]])[] = [
    [
      'int64',
      7,
      [1, -1, 300],
      [1, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 44, 1, 0, 0, 0, 0, 0, 0],
    ],
    ['int64', 7, [Number.MAX_SAFE_INTEGER], [255, 255, 255, 255, 255, 255, 31, 0]],
    ['uint64', 11, [2 ** 40 + 1], [1, 0, 0, 0, 0, 1, 0, 0]],
    ['uint32', 11, [2 ** 32 - 1, 7], [255, 255, 255, 255, 7, 0, 0, 0]],
    ['int32', 5, [-2, 70000], [254, 255, 255, 255, 112, 17, 1, 0]],
    ['int16', 5, [-2, 300], [254, 255, 44, 1]],
    ['uint16', 5, [65535, 300], [255, 255, 44, 1]],
    ['int8', 5, [-2, 100], [254, 100]],
    ['uint8', 5, [255, 100], [255, 100]],
    ['bool', 5, [1, 0, 1], [1, 0, 1]],
    ['float16', 5, [0x3c00, 0xbc00], [0, 0x3c, 0, 0xbc]],
    ['bfloat16', 5, [0x3f80, 0xbf80], [0x80, 0x3f, 0x80, 0xbf]],
    ['float8e4m3fn', 5, [0x38, 0xb8], [0x38, 0xb8]],
  ];
  for (const [dtype, field, values, raw] of rows) {
    const head = tensorBytes('w', dataTypeNumber(dtype), [values.length]);
    it(`${dtype} ${values}, packed, unpacked, in runs`, () => {
      const packed = message(field, ...values.map(varint));
      const single = concat(...values.map((v) => concat(tagBytes(field, 0), varint(v))));
      const [first = 0, ...rest] = values;
      const runs = concat(
        message(field, varint(first)),
        number(99, 1),
        ...rest.map((v) => concat(tagBytes(field, 0), varint(v))),
      );
      for (const payload of [packed, single, runs]) expect([...bytesOf(tensor(concat(head, payload)))]).toEqual(raw);
    });
  }

  it('4-bit and 2-bit elements come two and four to an int32', () => {
    for (const [dtype, count] of [
      ['int4', 5],
      ['uint4', 6],
      ['float4e2m1', 5],
      ['uint2', 9],
      ['int2', 12],
    ] as const) {
      const bytes = rawByteLength(dtype, [count]);
      expect(bytes).toBe(3);
      expect([
        ...bytesOf(tensor(tensorBytes('w', dataTypeNumber(dtype), [count], message(5, [1, 0x81, 1, 0x7f])))),
      ]).toEqual([1, 0x81, 0x7f]);
    }
  });

  it('floats, doubles and complex numbers are taken as they lie', () => {
    const f = new Uint8Array(Float32Array.from([1.5, -0, Number.NaN, 3e-45]).buffer);
    f.set([1, 0, 0xa0, 0x7f], 8);
    expect(bytesOf(tensor(tensorBytes('w', 1, [4], message(4, f))))).toEqual(f);
    expect(bytesOf(tensor(tensorBytes('w', 14, [2], message(4, f))))).toEqual(f);
    expect(bytesOf(tensor(tensorBytes('w', 11, [2], message(10, f))))).toEqual(f);
    expect(bytesOf(tensor(tensorBytes('w', 15, [1], message(10, f))))).toEqual(f);
  });

  it('strings', () => {
    const t = tensor(tensorBytes('w', 8, [2], message(6, [0xff, 0]), text(6, 'b')));
    expect(t.payload).toEqual({ kind: 'strings', values: [Uint8Array.from([0xff, 0]), Uint8Array.from([98])] });
  });

  it('millions of varints stream through chunks', () => {
    const n = 1_500_000;
    const values = Array.from({ length: n }, (_, i) => (i * 7919) % 40000);
    const parts = new Uint8Array(n * 3);
    let at = 0;
    for (const v of values) {
      let rest = v;
      for (; rest >= 128; rest >>= 7) parts[at++] = (rest & 127) | 128;
      parts[at++] = rest;
    }
    const head = concat([0x2a], varintBytes(at));
    const big = new Uint8Array(head.length + at);
    big.set(head);
    big.set(parts.subarray(0, at), head.length);
    const inside = tensorBytes('w', 5, [n]);
    const size = varintBytes(inside.length + big.length);
    const graph = concat(text(2, 'g'), x, relu, y, [0x2a], size);
    const start = concat(
      number(1, 8),
      message(8, text(1, ''), number(2, 17)),
      [0x3a],
      varintBytes(graph.length + inside.length + big.length),
      graph,
      inside,
    );
    const bytes = new Uint8Array(start.length + big.length);
    bytes.set(start);
    bytes.set(big, start.length);
    const t = parse(bytes).graph.initializers[0]?.tensor;
    if (t === undefined) throw new Error('no tensor');
    const have = new Uint16Array(bytesOf(t).buffer);
    expect(t.payload.kind).toBe('computed');
    expect(have.length).toBe(n);
    expect(have.every((v, i) => v === values[i])).toBe(true);
  });
});

describe('payloads', () => {
  it('are not read, wherever they are', () => {
    const big = message(9, new Uint8Array(400_000));
    const constant = message(5, text(1, 'value'), message(5, tensorBytes('', 1, [100_000], big)), number(20, 4));
    const sparse = concat(
      message(1, tensorBytes('s', 1, [100_000], big)),
      message(2, tensorBytes('', 7, [100_000], message(9, new Uint8Array(800_000)))),
      number(3, 200_000),
    );
    const body = message(
      5,
      text(1, 'then_branch'),
      message(
        6,
        node('Constant', [], ['r'], constant),
        valueInfo(12, 'r'),
        message(5, tensorBytes('i', 1, [100_000], big)),
      ),
      number(20, 5),
    );
    const functionNode = concat([0x3a], node('Constant', [], ['b'], constant).subarray(1));
    const bytes = concat(
      modelBytes(
        valueInfo(11, 'c', 9),
        x,
        message(5, tensorBytes('w', 1, [100_000], message(4, new Uint8Array(400_000)))),
        message(15, sparse),
        node('Constant', [], ['k'], message(5, text(1, 'sparse_value'), message(22, sparse), number(20, 11))),
        node(
          'Constant',
          [],
          ['l'],
          message(5, text(1, 'tensors'), message(10, tensorBytes('', 1, [100_000], big)), number(20, 9)),
        ),
        node('If', ['c'], ['z'], body),
        relu,
        y,
      ),
      message(25, text(1, 'F'), text(5, 'b'), functionNode, message(9, text(1, ''), number(2, 17)), text(10, 'own')),
    );
    expect(bytes.length).toBeGreaterThan(4_000_000);
    let read = 0;
    const inner = memorySource('m', bytes);
    const source: ByteSource = {
      ...inner,
      read: (o, n) => {
        read += n;
        return inner.read(o, n);
      },
    };
    const { model, source: from } = parseSource(source);
    // Windows of 64 KiB around nine payloads, twice.
    expect(read).toBeLessThan(1_600_000);
    expect(from.stretches.map((s) => s.bytes).toSorted((a, b) => a - b)).toEqual([
      ...Array.from({ length: 7 }, () => 400_000),
      800_000,
      800_000,
    ]);
    expect(Buffer.compare(encodeModel(parse(encodeModel(model))), encodeModel(model))).toBe(0);
  });
});

describe('names', () => {
  it('an unsorted graph is sorted, as little as possible', () => {
    const m = parse(
      modelBytes(
        x,
        node('Relu', ['b'], ['y'], text(3, '3')),
        node('Relu', ['x'], ['a'], text(3, '1')),
        node('Relu', ['a'], ['b'], text(3, '2')),
        node('Relu', ['x'], ['q'], text(3, '4')),
        y,
      ),
    );
    expect(m.graph.nodes.map((n) => n.name)).toEqual(['1', '2', '3', '4']);
  });

  it('a body captures outer values, its own come first, later ones are waited for', () => {
    const inside = message(
      6,
      node('Add', ['late', 'x'], ['a'], text(3, 'in')),
      node('Relu', ['a'], ['x2']),
      valueInfo(12, 'x2'),
    );
    const m = parse(
      modelBytes(
        x,
        valueInfo(11, 'c', 9),
        node('If', ['c'], ['y'], text(3, 'if'), message(5, text(1, 'then_branch'), inside, number(20, 5))),
        node('Relu', ['x'], ['late'], text(3, 'late')),
        y,
      ),
    );
    expect(m.graph.nodes.map((n) => n.name)).toEqual(['late', 'if']);
    const body = m.graph.nodes[1]?.bodies[0];
    expect(body?.nodes[0]?.inputs[0]).toBe(m.graph.nodes[0]?.outputs[0]);
    expect(body?.nodes[0]?.inputs[1]).toBe(m.graph.inputs[0]);
    expect([...(m.graph.inputs[0]?.uses ?? [])].length).toBe(2);
  });

  it('a body may use a name of the graph around it for a value of its own', () => {
    const inside = message(6, node('Relu', ['x'], ['h']), node('Neg', ['h'], ['r']), valueInfo(12, 'r'));
    const m = parse(
      modelBytes(
        x,
        valueInfo(11, 'c', 9),
        node('Neg', ['x'], ['h']),
        node('If', ['c'], ['y'], message(5, text(1, 'then_branch'), inside, number(20, 5))),
        y,
      ),
    );
    const body = m.graph.nodes[1]?.bodies[0];
    expect(body?.nodes[1]?.inputs[0]).toBe(body?.nodes[0]?.outputs[0]);
  });

  it('inputs with a default are one value', () => {
    const m = parse(
      modelBytes(
        x,
        valueInfo(11, 'w', 1, [4]),
        message(5, tensorBytes('w', 1, [4], message(9, new Uint8Array(16)))),
        node('Add', ['x', 'w'], ['y']),
        y,
      ),
    );
    expect(m.graph.initializers[0]).toBe(m.graph.inputs[1]);
  });

  it('absent optional inputs and outputs stay absent', () => {
    const m = parse(modelBytes(x, node('Clip', ['x', '', 'x'], ['y', '']), y));
    expect(m.graph.nodes[0]?.inputs.map((v) => v?.name)).toEqual(['x', undefined, 'x']);
    expect(m.graph.nodes[0]?.outputs.map((v) => v.name)).toEqual(['y', '']);
  });

  it('ai.onnx is the default domain', () => {
    const m = parse(
      concat(
        number(1, 8),
        message(8, text(1, 'ai.onnx'), number(2, 17)),
        message(7, x, node('Relu', ['x'], ['y'], text(7, 'ai.onnx')), y),
      ),
    );
    expect([...m.opsets]).toEqual([['', 17]]);
    expect(m.graph.nodes[0]?.domain).toBe('');
  });
});

describe('what this version does not know', () => {
  const mark = number(777, 5);
  const training = message(
    20,
    message(2, text(2, 'algorithm'), message(5, tensorBytes('t', 1, [1000], message(9, new Uint8Array(4000))))),
  );
  const configuration = message(26, text(1, 'two devices'), number(2, 2));
  const device = message(10, text(1, 'two devices'), number(3, 1));
  const type = message(
    2,
    message(1, number(1, 1), message(2, message(1, text(2, 'N'), text(3, 'DATA_BATCH'), mark)), mark),
    text(6, 'IMAGE'),
    mark,
  );
  const bytes = concat(
    number(1, 10),
    message(8, text(1, ''), number(2, 17)),
    message(
      7,
      text(2, 'g'),
      message(11, text(1, 'x'), type, message(4, text(1, 'k'), text(2, 'v')), mark),
      message(5, tensorBytes('w', 1, [1], message(9, new Uint8Array(4)), mark, message(3, number(1, 0), number(2, 1)))),
      node('Add', ['x', 'w'], ['y'], message(5, text(1, 'a'), number(3, 1), number(20, 2), mark), device, mark),
      message(13, text(1, 'stray'), type),
      message(14, text(1, 'x'), message(2, text(1, 'SCALE_TENSOR'), text(2, 's'))),
      message(12, text(1, 'y'), type),
      mark,
    ),
    training,
    message(
      25,
      text(1, 'F'),
      text(4, 'a'),
      text(5, 'b'),
      concat([0x3a], node('Relu', ['a'], ['b'], mark).subarray(1)),
      message(12, text(1, 'a'), type),
      message(9, text(1, ''), number(2, 17)),
      text(10, 'own'),
      mark,
    ),
    configuration,
    mark,
  );
  const find = (all: Uint8Array, part: Uint8Array): number => {
    let n = 0;
    for (let at = Buffer.from(all).indexOf(part); at >= 0; at = Buffer.from(all).indexOf(part, at + 1)) n++;
    return n;
  };

  it('is written back: fields, training_info, devices, types with their denotations', () => {
    const out = encodeModel(parse(bytes));
    expect(find(out, mark)).toBe(find(bytes, mark));
    for (const part of [training, configuration, device]) expect(find(out, part)).toBe(1);
    expect(find(out, type)).toBe(4);
    expect(encodeModel(parse(out))).toEqual(out);
  });

  it('and what it knows is in the model', () => {
    const m = parse(bytes);
    const [input] = m.graph.inputs;
    expect(input?.denotation).toBe('IMAGE');
    expect(input?.type).toEqual({ kind: 'tensor', dtype: 'float32', shape: ['N'], denotations: ['DATA_BATCH'] });
    expect([...(input?.metadata ?? [])]).toEqual([['k', 'v']]);
    expect(m.graph.strayInfo.map((v) => v.name)).toEqual(['stray']);
    expect(m.graph.quantization.map((q) => [q.tensor, ...q.parameters])).toEqual([['x', ['SCALE_TENSOR', 's']]]);
    expect(m.functions[0]?.body.inputs[0]?.declared).toBe(true);
    expect(m.unknown.length).toBe(3);
  });
});
