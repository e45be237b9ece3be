import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { printModel, printModelPieces } from '../../src/emit/index.ts';
import {
  type Attr,
  constant,
  Graph,
  type Model,
  Node,
  tensorType,
  Value,
  type ValueType,
} from '../../src/graph/model.ts';
import { isDefaultAttr } from '../../src/graph/operators.ts';
import { inlineTensor, numberToHalf, type Tensor, tensorOf } from '../../src/graph/tensor.ts';
import { parseText } from '../../src/parser/index.ts';
import { describeModel } from '../support/describeModel.ts';

const bytes = (s: string): Uint8Array => new TextEncoder().encode(s);

function modelOf(graph: Graph, functions: Model['functions'] = []): Model {
  return {
    irVersion: 9,
    opsets: new Map([['', 18]]),
    graph,
    functions,
    producerName: '',
    producerVersion: '',
    domain: '',
    modelVersion: 0,
    docString: '',
    metadata: new Map(),
    unknown: [],
  };
}

/** A graph x -> y of one node. */
function oneNode(
  attrs: Iterable<readonly [string, Attr]> = [],
  init: { op?: string; domain?: string; overload?: string } = {},
): Model {
  const graph = new Graph('main');
  const x = new Value('x', tensorType('float32', ['N']));
  const y = new Value('y');
  graph.inputs.push(x);
  graph.append(new Node({ op: 'Op', inputs: [x], outputs: [y], attrs, ...init }));
  graph.outputs.push(y);
  return modelOf(graph);
}

/** Prints, reads back, compares, prints again. */
function roundTrip(model: Model, full = true): string {
  const text = printModel(model, { full, comments: false });
  const back = parseText(text);
  expect(describeModel(back)).toEqual(describeModel(model));
  expect(printModel(back, { full, comments: false })).toBe(text);
  return text;
}

const tensorModel = (tensor: Tensor): Model => {
  const graph = new Graph('main');
  graph.initializers.push(constant('w', tensor));
  return modelOf(graph);
};

const line = (text: string, start: string): string =>
  text
    .split('\n')
    .find((l) => l.trimStart().startsWith(start))
    ?.trim() ?? `no line starts with ${start}`;

describe('the canonical form', () => {
  test('is the one of the golden files', () => {
    const graph = new Graph('main');
    const x = new Value('x', tensorType('float32', ['B', 4]));
    const [base, low, y] = [new Value('y.base'), new Value('y.lora_0'), new Value('y')];
    base.type = y.type = tensorType('float32', ['B', 4]);
    low.type = tensorType('float32', ['B', 1]);
    const w = constant('q.weight', tensorOf('float32', [4, 1], [0.1, 0, 0, -2.5]));
    w.metadata.set('loraify.trainable', 'true');
    graph.inputs.push(x);
    graph.initializers.push(w, constant('scale', tensorOf('float32', [], [2])));
    const lora = new Node({ op: 'MatMul', inputs: [base, w], outputs: [low] });
    lora.metadata.set('loraify.rule', 'lora/matmul').set('note', 'two\nlines');
    const add = new Node({ op: 'Add', name: '/out/Add', inputs: [base, low], outputs: [y] });
    add.metadata.set('loraify.rule', 'grad/Add').set('loraify.grad_of', '/out/MatMul');
    graph.append(new Node({ op: 'Relu', inputs: [x], outputs: [base] }), lora, add);
    graph.outputs.push(y);
    expect(printModel(modelOf(graph))).toMatchInlineSnapshot(`
      "<ir_version: 9, opset_import: ["" : 18]>
      main (float[B,4] x) => (float[B,4] y)
      <float[4,1] "q.weight" = {0.1, 0, 0, -2.5},  # loraify.trainable: "true"
       float scale = {2}>
      {
         "y.base" = Relu (x)                                      # float[B,4]
         # note: "two\\nlines"
         "y.lora_0" = MatMul ("y.base", "q.weight")               # float[B,1]  lora/matmul
         ["/out/Add"] y = Add ("y.base", "y.lora_0")              # float[B,4]  grad/Add of /out/MatMul
      }
      "
    `);
  });

  test('leaves defaults out where the caller says so', () => {
    const gemm = oneNode(
      [
        ['transB', { kind: 'int', value: 1 }],
        ['alpha', { kind: 'float', value: 1 }],
      ],
      { op: 'Gemm' },
    );
    expect(line(printModel(gemm), 'y =')).toBe('y = Gemm <alpha: float = 1, transB: int = 1> (x)');
    expect(line(printModel(gemm, { isDefault: isDefaultAttr }), 'y =')).toBe('y = Gemm <transB: int = 1> (x)');
  });

  test('breaks long signatures and headers', () => {
    const model = oneNode();
    for (let i = 0; i < 12; i++) model.graph.inputs.push(new Value(`past_${i}`, tensorType('float32', ['N', 4])));
    model.producerName = 'p'.repeat(120);
    expect(roundTrip(model).split('\n').slice(0, 9)).toEqual([
      '<',
      '   ir_version: 9,',
      '   opset_import: ["" : 18],',
      `   producer_name: "${'p'.repeat(120)}"`,
      '>',
      'main (',
      '   float[N] x,',
      '   float[N,4] past_0,',
      '   float[N,4] past_1,',
    ]);
  });

  test('pieces are the text', () => {
    const model = oneNode();
    expect([...printModelPieces(model)].join('')).toBe(printModel(model));
  });
});

describe('tensors', () => {
  test('above 64 elements are elided by the hash of their content', () => {
    const zeros = tensorModel(tensorOf('float32', [65], new Array(65).fill(0)));
    expect(line(printModel(zeros), '<')).toBe('<ir_version: 9, opset_import: ["" : 18]>');
    expect(line(printModel(zeros), '<float')).toMatch(
      /^<float\[65\] w = \["location": "elided", "sha256": "[0-9a-f]{16}"\]>$/,
    );
    expect(printModel(zeros)).not.toBe(printModel(tensorModel(tensorOf('float32', [65], new Array(65).fill(1)))));
    expect(() => parseText(printModel(zeros))).toThrow(/were elided/);
    roundTrip(zeros);
    roundTrip(tensorModel(tensorOf('float32', [64], new Array(64).fill(0))), false);
  });

  test('of any payload are read in chunks', () => {
    const values = tensorOf('float32', [3], [1, 2.5, -3]);
    const raw = values.payload.kind === 'inline' ? values.payload.bytes : bytes('');
    const odd: Tensor = {
      ...values,
      payload: { kind: 'computed', chunks: () => [raw.slice(0, 3), raw.slice(3, 6), raw.slice(6)] },
    };
    expect(line(printModel(tensorModel(odd)), '<float')).toBe('<float[3] w = {1, 2.5, -3}>');
  });

  test.each<[Tensor, string]>([
    [tensorOf('float32', [4], [NaN, Infinity, -Infinity, -0]), 'float[4] w = {nan, inf, -inf, -0.0}'],
    [inlineTensor('float32', [1], Uint8Array.of(0, 0, 0xc0, 0xff)), 'float[1] w = {-nan}'],
    [tensorOf('float64', [2], [0.1, 5e-324]), 'double[2] w = {0.1, 5e-324}'],
    [tensorOf('float16', [2], [1, -2]), `float16[2] w = {${numberToHalf(1)}, ${numberToHalf(-2)}}`],
    [tensorOf('bfloat16', [1], [1]), 'bfloat16[1] w = {16256}'],
    [inlineTensor('int4', [3], Uint8Array.of(0x21, 0x03)), 'int4[3] w = {33, 3}'],
    [inlineTensor('uint2', [5], Uint8Array.of(228, 1)), 'uint2[5] w = {228, 1}'],
    [inlineTensor('float8e4m3fn', [2], Uint8Array.of(1, 255)), 'float8e4m3fn[2] w = {1, 255}'],
    [inlineTensor('complex64', [1], new Uint8Array(new Float32Array([1, -2]).buffer)), 'complex64[1] w = {1, -2}'],
    [tensorOf('bool', [2], [1, 0]), 'bool[2] w = {1, 0}'],
    [tensorOf('int8', [2], [-128, 127]), 'int8[2] w = {-128, 127}'],
    [tensorOf('float32', [0, 4], []), 'float[0,4] w = {}'],
    [
      inlineTensor('int64', [1], new Uint8Array(new BigInt64Array([-(2n ** 63n)]).buffer)),
      'int64[1] w = {-9223372036854775808}',
    ],
    [
      inlineTensor('uint64', [], new Uint8Array(new BigUint64Array([2n ** 64n - 1n]).buffer)),
      'uint64 w = {18446744073709551615}',
    ],
    [
      {
        dtype: 'string',
        dims: [3],
        byteLength: 0,
        payload: { kind: 'strings', values: ['a "b"\\', 'ü\n', ''].map(bytes) },
      },
      'string[3] w = {"a \\"b\\"\\\\", "ü\n", ""}',
    ],
  ])('case %#', (tensor, text) => {
    expect(roundTrip(tensorModel(tensor))).toContain(`<${text}>`);
  });
});

describe('attributes', () => {
  test('of every kind the syntax has', () => {
    const attrs: [string, Attr][] = [
      ['f', { kind: 'float', value: Math.fround(0.1) }],
      ['fs', { kind: 'floats', value: [1, NaN, -0, -Infinity] }],
      ['i', { kind: 'int', value: -(2n ** 63n) }],
      ['is', { kind: 'ints', value: [1, 2n ** 63n - 1n] }],
      ['empty', { kind: 'ints', value: [] }],
      ['none', { kind: 'tensors', value: [] }],
      ['s', { kind: 'string', value: bytes('a\\n "q"\nline') }],
      ['ss', { kind: 'strings', value: [bytes(''), bytes('é')] }],
      ['t', { kind: 'tensor', value: tensorOf('int64', [2], [1, 2]), name: 'named' }],
      ['u', { kind: 'tensor', value: tensorOf('float32', [], [1]), name: '' }],
      ['type', { kind: 'type', value: { kind: 'sequence', elem: tensorType('float32', undefined) } }],
    ];
    expect(line(roundTrip(oneNode(attrs)), 'y =')).toContain('empty: ints = [], f: float = 0.1');
  });

  test('a tensor name that the syntax has no place for is a comment', () => {
    const model = oneNode([['value', { kind: 'tensor', value: tensorOf('int64', [], [1]), name: 'a/b' }]]);
    expect(line(printModel(model), 'y =')).toBe('y = Op <value: tensor = int64 {1}> (x)');
    expect(line(printModel(model), '# value')).toBe('# value: tensor name "a/b"');
  });
});

describe('TEXT_UNSUPPORTED names the node', () => {
  const sparse = {
    values: { name: '', tensor: tensorOf('float32', [0], []) },
    indices: { name: '', tensor: tensorOf('int64', [0], []) },
    dims: [2],
  };
  test.each<[string, Model]>([
    ['domain', oneNode([], { domain: 'a-b' })],
    ['operator', oneNode([], { op: 'aten::add' })],
    ['overload', oneNode([], { overload: 'a b' })],
    ['attribute name', oneNode([['a b', { kind: 'int', value: 1 }]])],
    ['UTF-8', oneNode([['s', { kind: 'string', value: Uint8Array.of(0xff) }]])],
    ['U+0000', oneNode([['s', { kind: 'string', value: Uint8Array.of(0) }]])],
    ['list of tensors', oneNode([['l', { kind: 'tensors', value: [{ name: '', tensor: sparse.values.tensor }] }]])],
    ['list of graphs', oneNode([['l', { kind: 'graphs', value: [new Graph('a')] }]])],
    ['list of types', oneNode([['l', { kind: 'types', value: [tensorType('float32', [])] }]])],
    ['sparse', oneNode([['l', { kind: 'sparse', value: sparse }]])],
    ['graph name', oneNode([['g', { kind: 'graph', value: new Graph('a/b') }]])],
    ['graph name', oneNode([['g', { kind: 'graph', value: new Graph('inf_body') }]])],
    ['graph name', oneNode([['g', { kind: 'graph', value: new Graph('float') }]])],
    ['type', oneNode([['t', { kind: 'type', value: { kind: 'sequence', elem: undefined } }]])],
  ])('%s', (what, model) => {
    expect(() => printModel(model)).toThrow(expect.objectContaining({ code: 'TEXT_UNSUPPORTED' }));
    expect(() => printModel(model)).toThrow(what);
    try {
      printModel(model);
    } catch (e) {
      expect(JSON.stringify(e)).toMatch(/"node":"y"/);
    }
  });
});

describe('whatever a model holds', () => {
  const name = fc.oneof(
    fc.string({ unit: 'binary' }).filter((s) => !s.includes('\0')),
    fc.constantFrom('float', 'seq', 'nan', 'inf', '_', 'a.b', '/enc/MatMul_output_0', '"', '\\', '#', 'a\nb', 'é'),
  );
  const nonEmpty = name.filter((s) => s !== '');
  const dim = fc.oneof(fc.nat(), nonEmpty, fc.constant(null));
  const tensor = fc
    .tuple(
      fc.constantFrom<'float32' | 'int64' | 'bfloat16' | 'bool'>('float32', 'int64', 'bfloat16', 'bool'),
      fc.option(fc.array(dim), { nil: undefined }),
    )
    .map(([dtype, shape]) => tensorType(dtype, shape));
  const type = fc.letrec<{ type: ValueType }>((tie) => ({
    type: fc.oneof(
      { depthSize: 'small' },
      tensor,
      tie('type').map((elem): ValueType => ({ kind: 'sequence', elem })),
      tie('type').map((elem): ValueType => ({ kind: 'optional', elem })),
      tie('type').map((value): ValueType => ({ kind: 'map', key: 'int64', value })),
    ),
  })).type;
  const bigInt = fc
    .bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
    .map((n) => (Number.isSafeInteger(Number(n)) ? Number(n) : n));
  const text = fc
    .string({ unit: 'grapheme' })
    .filter((s) => !s.includes('\0'))
    .map(bytes);
  const attr: fc.Arbitrary<Attr> = fc.oneof(
    fc.float().map((value): Attr => ({ kind: 'float', value })),
    fc.array(fc.float()).map((value): Attr => ({ kind: 'floats', value })),
    bigInt.map((value): Attr => ({ kind: 'int', value })),
    fc.array(bigInt).map((value): Attr => ({ kind: 'ints', value })),
    text.map((value): Attr => ({ kind: 'string', value })),
    fc.array(text).map((value): Attr => ({ kind: 'strings', value })),
    type.map((value): Attr => ({ kind: 'type', value })),
    fc.array(fc.float()).map((v): Attr => ({ kind: 'tensor', value: tensorOf('float32', [v.length], v), name: '' })),
  );

  test('print and parse are inverse', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(nonEmpty, { minLength: 3, maxLength: 3 }),
        name,
        fc.dictionary(fc.stringMatching(/^[A-Za-z_][A-Za-z0-9_]{0,8}$/), attr),
        type,
        name,
        ([x = 'x', y = 'y', w = 'w'], label, attrs, t, doc) => {
          const graph = new Graph(label);
          graph.inputs.push(new Value(x, t));
          graph.initializers.push(constant(w, tensorOf('int64', [1], [7])));
          const out = new Value(y, t);
          out.declared = true;
          graph.append(
            new Node({
              op: 'Op',
              name: label,
              inputs: [graph.inputs[0], undefined, graph.initializers[0]],
              outputs: [out],
              attrs: Object.entries(attrs),
            }),
          );
          graph.outputs.push(out);
          const model = { ...modelOf(graph), docString: doc, metadata: new Map([[x, doc]]) };
          roundTrip(model);
          // Comments may say anything, but they never change what is read.
          expect(describeModel(parseText(printModel(model, { full: true })))).toEqual(describeModel(model));
        },
      ),
      { numRuns: 300 },
    );
  });
});
