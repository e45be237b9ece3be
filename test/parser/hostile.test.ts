import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeModel } from '../../src/emit/index.ts';
import { LoraifyError } from '../../src/errors.ts';
import { memorySource, tensorOf } from '../../src/graph/tensor.ts';
import { parseFile, parseSource } from '../../src/parser/index.ts';
import {
  chain,
  concat,
  message,
  modelBytes,
  node,
  number,
  tensorBytes,
  text,
  valueInfo,
} from '../support/matMulChain.ts';
import { describeShared, sharedPath } from '../support/sharedMaterial.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const parse = (bytes: Uint8Array, folder?: string) => parseSource(memorySource('m.onnx', bytes), folder).model;

/** Errors of the kind that users see, or none. Returns the code. */
function outcome(bytes: Uint8Array): string {
  try {
    const model = parse(bytes);
    encodeModel(model);
    return 'ok';
  } catch (error) {
    if (error instanceof LoraifyError) return error.code;
    throw error;
  }
}

const x = valueInfo(11, 'x', 1, ['N', 4]);
const y = valueInfo(12, 'y', 1, ['N', 4]);
const relu = node('Relu', ['x'], ['y']);
const ok = modelBytes(x, relu, y);
const head = concat(number(1, 8), message(8, text(1, ''), number(2, 17)));
const floats = (n: number): Uint8Array => message(9, new Uint8Array(n * 4));
const w = (name: string): Uint8Array => message(5, tensorBytes(name, 1, [4], floats(4)));
const raw = (field: number, bytes: readonly number[]): Uint8Array => concat([field * 8 + 2, bytes.length], bytes);

/** A body inside a body …: If nodes `depth` deep. */
function nested(depth: number): Uint8Array {
  let graph = concat(node('Relu', ['x'], ['r']), valueInfo(12, 'r'));
  for (let i = 0; i < depth; i++) {
    const body = (name: string): Uint8Array => message(5, text(1, name), message(6, graph), number(20, 5));
    graph = concat(node('If', ['c'], ['r'], body('then_branch')), valueInfo(12, 'r'));
  }
  return modelBytes(x, valueInfo(11, 'c', 9), graph);
}

const cases: Readonly<Record<string, readonly [string, Uint8Array]>> = {
  'an empty file': ['BAD_PROTOBUF', new Uint8Array(0)],
  text: ['BAD_PROTOBUF', new TextEncoder().encode('this is not a valid onnx model')],
  'zero bytes': ['BAD_PROTOBUF', new Uint8Array(100)],
  'no graph': ['BAD_PROTOBUF', head],
  'no IR version': ['BAD_PROTOBUF', concat(message(8, number(2, 17)), message(7, x, relu, y))],
  'two graphs': ['BAD_PROTOBUF', concat(ok, message(7, x, relu, y))],
  'IR 0': ['UNSUPPORTED_VERSION', concat(number(1, 0), ok.subarray(2))],
  'IR 1': ['ok', concat(number(1, 1), ok.subarray(2))],
  'IR 14': ['ok', concat(number(1, 14), ok.subarray(2))],
  'IR 15': ['UNSUPPORTED_VERSION', concat(number(1, 15), ok.subarray(2))],
  "ONNX Runtime's domain without opset": ['ok', modelBytes(x, node('Gelu', ['x'], ['y'], text(7, 'com.microsoft')), y)],
  "ONNX Runtime's domain in a version that it lacks": [
    'UNSUPPORTED_VERSION',
    concat(head, message(8, text(1, 'com.microsoft'), number(2, 2)), message(7, x, relu, y)),
  ],
  'opset 6': ['UNSUPPORTED_VERSION', concat(number(1, 8), message(8, number(2, 6)), message(7, x, relu, y))],
  'opset 27': ['UNSUPPORTED_VERSION', concat(number(1, 8), message(8, number(2, 27)), message(7, x, relu, y))],
  'no opset': ['NO_OPSET', concat(number(1, 8), message(7, x, relu, y))],
  'opset 0': ['NO_OPSET', concat(number(1, 8), message(8, number(2, 0)), message(7, x, relu, y))],
  'two opsets': ['NO_OPSET', concat(head, message(8, number(2, 18)), message(7, x, relu, y))],
  'two opsets, one as ai.onnx': [
    'NO_OPSET',
    concat(head, message(8, text(1, 'ai.onnx'), number(2, 18)), message(7, x, relu, y)),
  ],
  'the same opset twice': ['ok', concat(head, message(8, text(1, 'ai.onnx'), number(2, 17)), message(7, x, relu, y))],
  'a domain without opset': ['NO_OPSET', modelBytes(x, node('Relu', ['x'], ['y'], text(7, 'other')), y)],
  'only another domain': [
    'NO_OPSET',
    concat(number(1, 8), message(8, text(1, 'other'), number(2, 1)), message(7, x, relu, y)),
  ],
  'a dangling input': ['BAD_MODEL', modelBytes(x, node('Relu', ['z'], ['y']), y)],
  'a dangling output': ['BAD_MODEL', modelBytes(x, node('Relu', ['x'], ['z']), y)],
  'a dangling name in a body': [
    'BAD_MODEL',
    modelBytes(
      x,
      node(
        'If',
        ['x'],
        ['y'],
        message(5, text(1, 'then_branch'), message(6, node('Relu', ['q'], ['r'])), number(20, 5)),
      ),
      y,
    ),
  ],
  'a value of a body used outside': [
    'BAD_MODEL',
    modelBytes(
      x,
      node(
        'If',
        ['x'],
        ['h'],
        message(5, text(1, 'then_branch'), message(6, node('Relu', ['x'], ['r'])), number(20, 5)),
      ),
      node('Relu', ['r'], ['y']),
      y,
    ),
  ],
  'two nodes making one value': ['BAD_MODEL', modelBytes(x, relu, relu, y)],
  'two inputs of one name': ['BAD_MODEL', modelBytes(x, x, relu, y)],
  'two initializers of one name': ['ok', modelBytes(x, w('w'), w('w'), node('Add', ['x', 'w'], ['y']), y)],
  'an initializer that a node makes too': ['BAD_MODEL', modelBytes(x, w('y'), relu, y)],
  'an input that a node makes too': ['BAD_MODEL', modelBytes(x, node('Relu', ['x'], ['x']))],
  'an input without a name': ['BAD_MODEL', modelBytes(valueInfo(11, ''), relu)],
  'a node without an operator': ['BAD_MODEL', modelBytes(x, message(1, text(1, 'x'), text(2, 'y')), y)],
  'a cycle': ['BAD_MODEL', modelBytes(x, node('Add', ['x', 'b'], ['a']), node('Relu', ['a'], ['b']))],
  'a node that reads itself': ['BAD_MODEL', modelBytes(x, node('Add', ['x', 'a'], ['a']))],
  'a cycle through a body': [
    'BAD_MODEL',
    modelBytes(
      x,
      node(
        'If',
        ['x'],
        ['y'],
        message(5, text(1, 'then_branch'), message(6, node('Relu', ['b'], ['r']), valueInfo(12, 'r')), number(20, 5)),
      ),
      node('Relu', ['y'], ['b']),
      y,
    ),
  ],
  'bodies nested 20 deep': ['ok', nested(20)],
  'bodies nested 40 deep': ['BAD_PROTOBUF', nested(40)],
  'a name that is not UTF-8': [
    'BAD_PROTOBUF',
    modelBytes(x, message(1, raw(1, [0xff, 0xfe]), text(2, 'y'), text(4, 'Relu')), y),
  ],
  'an attribute twice': [
    'BAD_MODEL',
    modelBytes(
      x,
      node('Relu', ['x'], ['y'], message(5, text(1, 'a'), number(20, 2)), message(5, text(1, 'a'), number(20, 2))),
      y,
    ),
  ],
  'an attribute of unknown type': [
    'BAD_MODEL',
    modelBytes(x, node('Relu', ['x'], ['y'], message(5, text(1, 'a'), number(20, 99))), y),
  ],
  'a tensor attribute without a tensor': [
    'BAD_MODEL',
    modelBytes(x, node('Relu', ['x'], ['y'], message(5, text(1, 'a'), number(20, 4))), y),
  ],
  'an element type that does not exist': ['BAD_MODEL', modelBytes(valueInfo(11, 'x', 99), relu, y)],
  'a tensor with the reserved field': [
    'BAD_PROTOBUF',
    modelBytes(x, relu, y, message(5, tensorBytes('w', 1, [4], floats(4), number(19001, 0)))),
  ],
  'an input and an initializer of different types': [
    'BAD_MODEL',
    modelBytes(x, valueInfo(11, 'w', 7, [4]), w('w'), relu, y),
  ],
  'a sparse tensor with too few indices': [
    'BAD_MODEL',
    modelBytes(
      x,
      relu,
      y,
      message(
        15,
        message(1, tensorBytes('s', 1, [2], floats(2))),
        message(2, tensorBytes('', 7, [1], message(9, new Uint8Array(8)))),
        number(3, 4),
      ),
    ),
  ],
};

const tensors: Readonly<Record<string, readonly [string, Uint8Array]>> = {
  fine: ['ok', tensorBytes('w', 1, [2, 2], floats(4))],
  'no elements and none needed': ['ok', tensorBytes('w', 1, [0, 5])],
  'a scalar': ['ok', tensorBytes('w', 1, [], floats(1))],
  'an unknown type': ['BAD_TENSOR', tensorBytes('w', 99, [4], floats(4))],
  'no type': ['BAD_TENSOR', tensorBytes('w', 0, [4], floats(4))],
  'dims that overflow': ['BAD_TENSOR', tensorBytes('w', 1, [2 ** 40, 2 ** 40], floats(4))],
  'bytes that overflow': ['BAD_TENSOR', tensorBytes('w', 11, [2 ** 52], floats(4))],
  'a dim beyond 2^53': [
    'BAD_TENSOR',
    concat([8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], number(2, 1), text(8, 'w')),
  ],
  'a negative dim': [
    'BAD_TENSOR',
    concat([8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], number(2, 1), text(8, 'w')),
  ],
  'too few bytes': ['BAD_TENSOR', tensorBytes('w', 1, [5], floats(4))],
  'too many bytes': ['BAD_TENSOR', tensorBytes('w', 1, [3], floats(4))],
  'no elements': ['BAD_TENSOR', tensorBytes('w', 1, [3])],
  'elements in two fields': ['BAD_TENSOR', tensorBytes('w', 1, [4], floats(4), message(4, new Uint8Array(16)))],
  'raw_data twice': ['BAD_TENSOR', tensorBytes('w', 1, [8], floats(4), floats(4))],
  'floats in int64_data': ['BAD_TENSOR', tensorBytes('w', 1, [4], message(7, [1, 2, 3, 4]))],
  'too few varints': ['BAD_TENSOR', tensorBytes('w', 7, [4], message(7, [1, 2, 3]))],
  'a varint cut off': ['BAD_TENSOR', tensorBytes('w', 7, [4], message(7, [1, 2, 3, 0x80]))],
  'a varint without end': [
    'BAD_TENSOR',
    tensorBytes('w', 7, [2], message(7, [1, ...Array.from({ length: 10 }, () => 0xff), 1])),
  ],
  'floats cut off in two runs': [
    'BAD_TENSOR',
    tensorBytes('w', 1, [2], message(4, new Uint8Array(6)), message(4, new Uint8Array(2))),
  ],
  'strings in raw_data': ['BAD_TENSOR', tensorBytes('w', 8, [4], floats(1))],
  'too few strings': ['BAD_TENSOR', tensorBytes('w', 8, [2], text(6, 'a'))],
  'strings in a float tensor': ['BAD_TENSOR', tensorBytes('w', 1, [0], text(6, 'a'))],
  'an unknown place of data': ['BAD_TENSOR', tensorBytes('w', 1, [4], floats(4), number(14, 7))],
  'external data in memory': [
    'EXTERNAL_DATA_BOUNDS',
    tensorBytes('w', 1, [4], message(13, text(1, 'location'), text(2, 'a')), number(14, 1)),
  ],
};

describe('what is refused', () => {
  for (const [name, [code, bytes]] of Object.entries(cases)) it(name, () => expect(outcome(bytes)).toBe(code));
  for (const [name, [code, tensor]] of Object.entries(tensors)) {
    it(`a tensor: ${name}`, () => expect(outcome(modelBytes(x, relu, y, message(5, tensor)))).toBe(code));
    it(`a tensor of a Constant: ${name}`, () => {
      const constant = node('Constant', [], ['c'], message(5, text(1, 'value'), message(5, tensor), number(20, 4)));
      expect(outcome(modelBytes(x, constant, relu, y))).toBe(code);
    });
  }

  it('names the place', () => {
    expect(() => parse(modelBytes(x, node('Relu', ['z'], ['y'], text(3, 'n7')), y))).toThrow(
      expect.objectContaining({ node: 'n7', message: expect.stringContaining('"z"') }),
    );
    expect(() => parse(modelBytes(x, message(5, tensorBytes('w.q', 1, [5], floats(4)))))).toThrow(/"w\.q"/);
  });

  it('a missing file, a folder and a pipe', () => {
    const folder = temporaryFolder();
    for (const path of [join(folder, 'none.onnx'), folder, '/dev/null'])
      expect(() => parseFile(path)).toThrow(expect.objectContaining({ code: 'FILE_NOT_FOUND' }));
  });
});

describe('external data', () => {
  const external = (elements: number, ...entries: readonly (readonly [string, string])[]): Uint8Array =>
    modelBytes(
      x,
      relu,
      y,
      message(
        5,
        tensorBytes('w', 1, [elements], ...entries.map(([k, v]) => message(13, text(1, k), text(2, v))), number(14, 1)),
      ),
    );
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'w.bin'), new Uint8Array(64));
  writeFileSync(join(folder, 'a..b'), new Uint8Array(64));
  mkdirSync(join(folder, 'model'));
  mkdirSync(join(folder, 'model', 'sub'));
  const at = join(folder, 'model');
  writeFileSync(join(at, 'w.bin'), new Uint8Array(64));
  writeFileSync(join(at, 'a..b'), new Uint8Array(64));
  writeFileSync(join(at, 'sub', 'w.bin'), new Uint8Array(64));
  symlinkSync(join(at, 'w.bin'), join(at, 'link.bin'));
  symlinkSync(join(at, 'sub'), join(at, 'linked'));
  symlinkSync(folder, join(folder, 'model', 'up'));
  symlinkSync('../w.bin', join(at, 'leaves.bin'));

  const fine: readonly (readonly (readonly [string, string])[])[] = [
    [['location', 'w.bin']],
    [['location', './w.bin']],
    [
      ['location', 'sub/w.bin'],
      ['offset', '0'],
      ['length', '16'],
    ],
    [
      ['location', 'w.bin'],
      ['offset', '48'],
      ['checksum', 'x'],
    ],
    [['location', 'a..b']],
    [['location', 'sub/../w.bin']],
    [['location', '../model/w.bin']],
    [['location', 'link.bin']],
    [['location', 'linked/w.bin']],
  ];
  for (const entries of fine)
    it(`takes ${JSON.stringify(entries)}`, () => {
      expect(parse(external(4, ...entries), at).graph.initializers[0]?.tensor?.byteLength).toBe(16);
    });

  const outside = [
    '../w.bin',
    'sub/../../w.bin',
    '..\\w.bin',
    'sub\\..\\..\\w.bin',
    '/etc/passwd',
    '\\\\host\\w.bin',
    'C:\\w.bin',
    'C:w.bin',
    'leaves.bin',
    'up/w.bin',
    '*/_ORT_MEM_ADDR_/*',
    '',
    '.',
    './',
    'sub',
    'w.bin\0x',
  ];
  for (const location of outside)
    it(`refuses ${JSON.stringify(location)}`, () => {
      expect(() => parse(external(4, ['location', location]), at)).toThrow(
        expect.objectContaining({ code: 'EXTERNAL_DATA_OUTSIDE' }),
      );
    });

  const bounds: readonly (readonly [number, ...(readonly (readonly [string, string])[])])[] = [
    [4, ['location', 'missing.bin']],
    [4, ['location', 'sub/missing.bin']],
    [17, ['location', 'w.bin']],
    [4, ['location', 'w.bin'], ['offset', '49']],
    [4, ['location', 'w.bin'], ['length', '15']],
    [4, ['location', 'w.bin'], ['length', '17']],
    [4, ['location', 'w.bin'], ['offset', '-1']],
    [4, ['location', 'w.bin'], ['offset', '0x10']],
    [4, ['location', 'w.bin'], ['offset', ' 1']],
    [4, ['location', 'w.bin'], ['offset', '99999999999999999999']],
    [4, ['location', 'w.bin'], ['length', '']],
  ];
  for (const [elements, ...entries] of bounds)
    it(`refuses ${elements} elements at ${JSON.stringify(entries)}`, () => {
      expect(() => parse(external(elements, ...entries), at)).toThrow(
        expect.objectContaining({ code: 'EXTERNAL_DATA_BOUNDS' }),
      );
    });

  it('no location, and elements inside as well', () => {
    expect(() => parse(external(4), at)).toThrow(expect.objectContaining({ code: 'EXTERNAL_DATA_OUTSIDE' }));
    const both = tensorBytes('w', 1, [4], floats(4), message(13, text(1, 'location'), text(2, 'w.bin')), number(14, 1));
    expect(() => parse(modelBytes(x, relu, y, message(5, both)), at)).toThrow(
      expect.objectContaining({ code: 'BAD_TENSOR' }),
    );
  });

  it('a model reached through a link has its data beside the link', () => {
    writeFileSync(join(at, 'm.onnx'), external(4, ['location', 'w.bin']));
    symlinkSync(join(at, 'm.onnx'), join(folder, 'm.onnx'));
    const { source } = parseFile(join(folder, 'm.onnx'));
    expect(source.externalFiles.map((f) => f.bytes)).toEqual([64]);
    source.close();
  });
});

describe('damage', () => {
  const small = encodeModel(
    chain([
      {
        name: 'w',
        tensor: tensorOf(
          'float32',
          [3, 4],
          Array.from({ length: 12 }, (_, i) => i),
        ),
      },
      {
        name: 'v',
        tensor: tensorOf(
          'float16',
          [4, 2],
          Array.from({ length: 8 }, (_, i) => i),
        ),
      },
    ]),
  );
  const whole = concat(small, message(20, new Uint8Array(5)), nested(2).subarray(2));

  it('truncation at every byte is a coded error or a smaller model', () => {
    for (const bytes of [small, whole, nested(3)]) for (let n = 0; n < bytes.length; n++) outcome(bytes.subarray(0, n));
    expect(outcome(small.subarray(0, small.length - 1))).not.toBe('ok');
  });

  it('changed bytes are a coded error or another model', () => {
    const edits = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(fc.constantFrom(small, whole, nested(3)), edits, (bytes, list) => {
        const copy = bytes.slice();
        for (const [at, value] of list) copy[at % copy.length] = value;
        outcome(copy);
      }),
      { numRuns: 2000 },
    );
  });

  describeShared('of real models', 'models', () => {
    for (const name of [
      'local_functions_nested_if',
      'conv_int4_weights_qdq',
      'lora_two_params_model',
      'scan_lstm_cntk',
    ])
      it(name, () => {
        const bytes = new Uint8Array(readFileSync(sharedPath('models', 'micro', `${name}.onnx`)));
        const step = bytes.length > 3000 ? 97 : 3;
        for (let n = 0; n < bytes.length; n += step) outcome(bytes.subarray(0, n));
        for (let n = 0; n < bytes.length; n += step) {
          const copy = bytes.slice();
          copy[n] = (copy[n] ?? 0) ^ (1 << (n % 8));
          outcome(copy);
        }
      });
  });
});
