import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { printModel } from '../../src/emit/index.ts';
import { LoraifyError } from '../../src/errors.ts';
import type { Graph, Model, Node } from '../../src/graph/model.ts';
import { bytesOf, numbersOf, type Tensor, tensorOf } from '../../src/graph/tensor.ts';
import { parseText } from '../../src/parser/index.ts';
import { describeModel } from '../support/describeModel.ts';

const node = (g: Graph, i: number): Node => {
  const n = g.nodes[i];
  if (n === undefined) throw new Error(`no node ${i}`);
  return n;
};

const body = (n: Node, name: string): Graph => {
  const a = n.attrs.get(name);
  if (a?.kind !== 'graph') throw new Error(`no body ${name}`);
  return a.value;
};

const tensor = (g: Graph, name: string): Tensor | undefined => g.initializers.find((v) => v.name === name)?.tensor;

/** The text reads as the same model after it was printed, and the print is a fixed point. */
function settles(text: string): Model {
  const model = parseText(text);
  const printed = printModel(model, { full: true });
  const again = parseText(printed);
  expect(describeModel(again)).toEqual(describeModel(model));
  expect(printModel(again, { full: true })).toBe(printed);
  return model;
}

describe('models', () => {
  test('as the official documentation writes them', () => {
    const model = settles(`
<
  ir_version: 7,
  opset_import: [ "" : 10 ]
>
agraph (float[N, 128] X, float[128, 10] W, float[10] B) => (float[N, 10] C)
{
    T = MatMul(X, W)
    S = Add(T, B)
    C = Softmax(S)
}`);
    expect(model.irVersion).toBe(7);
    expect([...model.opsets]).toEqual([['', 10]]);
    expect(model.graph.inputs.map((v) => v.name)).toEqual(['X', 'W', 'B']);
    expect(model.graph.outputs[0]?.type).toEqual({ kind: 'tensor', dtype: 'float32', shape: ['N', 10] });
    expect(node(model.graph, 1).inputs[0]).toBe(node(model.graph, 0).outputs[0]);
    expect([...(model.graph.inputs[0]?.uses ?? [])].map((u) => [u.node.op, u.index])).toEqual([['MatMul', 0]]);
  });

  test('every field of the header', () => {
    const model = settles(`<ir_version: 10, opset_import: ["" : 21, "com.microsoft" : 1], producer_name: "p",
      producer_version: "1", domain: "d", model_version: 3, doc_string: "two
lines", metadata_props: ["k" : "v", "l": ""]> g () => () {}`);
    expect(model).toMatchObject({ producerName: 'p', producerVersion: '1', domain: 'd', modelVersion: 3 });
    expect(model.docString).toBe('two\nlines');
    expect([...model.metadata]).toEqual([
      ['k', 'v'],
      ['l', ''],
    ]);
  });

  test('initializers in both places, and types beside them', () => {
    const { graph } = settles(`g (float[2] d = {1, 2}, float[N] e) => (y)
      <float[2,2] w = {1, 2, 3, 4.5}, float[3] e = {1, 2, 3}, float[2,2] w, float[N,7] t, int64[M] stray>
      { t = Op (d, e, w) y = Op (t) }`);
    expect(graph.initializers.map((v) => v.name)).toEqual(['d', 'w', 'e']);
    expect(graph.initializers[0]).toBe(graph.inputs[0]);
    expect(graph.inputs[1]?.type).toMatchObject({ shape: ['N'] });
    expect(numbersOf(tensor(graph, 'w') ?? tensorOf('bool', [0], []))).toEqual([1, 2, 3, 4.5]);
    expect(graph.initializers[1]?.declared).toBe(true);
    expect(node(graph, 0).outputs[0]).toMatchObject({ declared: true, type: { shape: ['N', 7] } });
    expect(graph.outputs[0]).toMatchObject({ type: undefined, declared: false });
    expect(graph.strayInfo.map((v) => v.name)).toEqual(['stray']);
  });

  test('nodes: labels, domains, overloads, optional values, none at all', () => {
    const { graph } = settles(`g (float x) => (y) {
      ["/a b"] "y.0", "" , "q" = com.microsoft.Op:over <a = 1> (x, , "", x,)  # a comment, with = ( " in it
      [n] = Sink ()
      y = Op ("y.0") <b: int = 2> }`);
    const n = node(graph, 0);
    expect([n.name, n.domain, n.op, n.overload]).toEqual(['/a b', 'com.microsoft', 'Op', 'over']);
    expect(n.inputs.map((v) => v?.name)).toEqual(['x', undefined, undefined, 'x']);
    expect(n.outputs.map((v) => v.name)).toEqual(['y.0', '', 'q']);
    expect(node(graph, 1).outputs).toEqual([]);
    expect(node(graph, 2).attrs.get('b')).toEqual({ kind: 'int', value: 2 });
  });

  test('nodes are put into the order of what they need', () => {
    const { graph } = settles('g (float x) => (z) { z = Op (y) y = Op (x) }');
    expect(graph.nodes.map((n) => n.outputs[0]?.name)).toEqual(['y', 'z']);
  });

  test('ai.onnx is the default domain, negative and empty dims are unknown, as in files', () => {
    const { graph, opsets } = settles(
      '<opset_import: ["ai.onnx" : 18]> g (float[-1,"",0] x) => (y) { y = ai.onnx.Op (x) }',
    );
    expect([...opsets]).toEqual([['', 18]]);
    expect(graph.inputs[0]?.type).toMatchObject({ shape: [null, null, 0] });
    expect(node(graph, 0).domain).toBe('');
  });

  test('attributes with and without their types', () => {
    const { graph } = settles(`g () => () { y = Op <
      i = 3, j: int = -9223372036854775808, f = 1.5, g: float = 2, h = -inf, fs: floats = [1, 2.5, nan], is = [1, 2],
      s = "a\\"b\\\\n", ss = ["", "x"], none: strings = [], graphs: graphs = [],
      t = float[2] {1, 2}, u: tensor = int64 one = {1}, v = float16[1] name {15360},
      type = seq(map(int64, float[N,?,"a b"])), scalar: type_proto = float, unknown = optional(double[]),
      r: ints = @axes, untyped = @"other attribute"> () }`);
    const attrs = Object.fromEntries(node(graph, 0).attrs);
    const encode = (s: string): Uint8Array => new TextEncoder().encode(s);
    expect(attrs).toMatchObject({
      i: { kind: 'int', value: 3 },
      j: { kind: 'int', value: -(2n ** 63n) },
      f: { kind: 'float', value: 1.5 },
      g: { kind: 'float', value: 2 },
      h: { kind: 'float', value: -Infinity },
      fs: { kind: 'floats', value: [1, 2.5, NaN] },
      is: { kind: 'ints', value: [1, 2] },
      s: { kind: 'string', value: encode('a"b\\n') },
      ss: { kind: 'strings', value: [encode(''), encode('x')] },
      none: { kind: 'strings', value: [] },
      graphs: { kind: 'graphs', value: [] },
      t: { kind: 'tensor', name: '' },
      u: { kind: 'tensor', name: 'one', value: { dtype: 'int64', dims: [] } },
      v: { kind: 'tensor', name: 'name', value: { dtype: 'float16', dims: [1] } },
      type: { kind: 'type', value: { kind: 'sequence', elem: { kind: 'map', value: { shape: ['N', null, 'a b'] } } } },
      scalar: { kind: 'type', value: { dtype: 'float32', shape: [] } },
      unknown: { kind: 'type', value: { kind: 'optional', elem: { dtype: 'float64', shape: undefined } } },
      r: { kind: 'ref', value: 'axes', type: 7 },
      untyped: { kind: 'ref', value: 'other attribute', type: 0 },
    });
  });

  test('bodies capture values of the graphs around them, in any depth', () => {
    const { graph } = settles(`g (bool c, float[N] x, int64 k) => (y, s) <float one = {1}> {
      z = Add (x, one)
      y = If (c) <
        then_branch = then_g () => (float[N] r) { r = If (c) <
            then_branch = inner () => (float[N] q) { q = Add (z, one) },
            else_branch = inner2 () => (float[N] z) { } > },
        else_branch: graph = else_g () => (float[N] r) <float one = {2}> { r = Add (z, one) }>
      l, t = Loop (k, , x) <body = loop (int64 i, bool cond, float[N] acc) => (bool cond, float[N] next, float[N] scan) {
        next = Add (acc, z) scan = Identity (next) }>
      s = Scan <num_scan_inputs = 1, body = scan (float e) => (float f) { f = Mul (e, one) }> (x)
    }`);
    const [z, one] = [node(graph, 0).outputs[0], graph.initializers[0]];
    const outer = body(node(graph, 1), 'then_branch');
    const inner = body(node(outer, 0), 'then_branch');
    expect(node(inner, 0).inputs).toEqual([z, one]);
    expect(node(inner, 0).inputs[0]).toBe(z);
    expect(body(node(outer, 0), 'else_branch').outputs[0]).toBe(z);
    const shadowing = node(body(node(graph, 1), 'else_branch'), 0).inputs[1];
    expect(shadowing).not.toBe(one);
    expect(shadowing?.tensor).toBeDefined();
    const loop = body(node(graph, 2), 'body');
    expect(loop.outputs[0]).toBe(loop.inputs[1]);
  });

  test('functions: attributes, defaults, overloads, types', () => {
    const { functions } = settles(`<ir_version: 10, opset_import: ["" : 21, "local" : 1]>
      g (float[N] x) => (y) { y = local.f:o <alpha = 1.0> (x) }
      <domain: "local", overload: "o", opset_import: ["" : 21], doc_string: "what it does">
      f <alpha, "odd name", beta: float = 1, modes: strings = ["a", "b"]> (float[N] x, q) => (float[] r, "s 2")
      <float[N] t, float[N] u> {
        t = Mul <k: float = @alpha> (x, x)  r = Op (t)  u = If (q) <then_branch = b () => (z) { z = Identity (t) }>
        "s 2" = Identity (u)
      }
      <domain: "local", opset_import: []> "no inputs" () => () {}`);
    expect(functions).toHaveLength(2);
    const f = functions[0];
    expect(f).toMatchObject({
      domain: 'local',
      name: 'f',
      overload: 'o',
      docString: 'what it does',
      attributes: ['alpha', 'odd name'],
    });
    expect([...(f?.defaults.keys() ?? [])]).toEqual(['beta', 'modes']);
    expect(f?.body.inputs.map((v) => v.declared)).toEqual([true, false]);
    expect(f?.body.outputs.map((v) => v.declared)).toEqual([true, false]);
    expect(functions[1]?.name).toBe('no inputs');
  });

  test('words that are types elsewhere are names where a name stands', () => {
    const { graph } = settles('g (float float, "seq", int64 "nan") => () { inf = Op (float, "seq", nan) }');
    expect(graph.inputs.map((v) => v.name)).toEqual(['float', 'seq', 'nan']);
  });

  test('types of every kind', () => {
    const text =
      'opaque() a, opaque(a.b) b, opaque(a.b,c) d, sparse_tensor(float[2,N]) e, sparse_tensor(double[]) f, int2 g';
    const { graph } = settles(`g (${text}) => () {}`);
    expect(graph.inputs.map((v) => v.type)).toEqual([
      { kind: 'opaque', domain: '', name: '' },
      { kind: 'opaque', domain: '', name: 'a.b' },
      { kind: 'opaque', domain: 'a.b', name: 'c' },
      { kind: 'sparse', dtype: 'float32', shape: [2, 'N'] },
      { kind: 'sparse', dtype: 'float64', shape: undefined },
      { kind: 'tensor', dtype: 'int2', shape: [] },
    ]);
  });
});

describe('elided tensors', () => {
  const text = 'g () => () <float[70] w = ["location": "elided", "sha256": "0123456789abcdef"]> {}';

  test('are refused', () => {
    expect(() => parseText(text)).toThrow(
      '1:27: the elements of tensor "w" were elided: print the model in full to read it back',
    );
    expect(() => parseText(text.replace('"elided"', '"w.bin"'))).toThrow(/in another file/);
    expect(() => parseText(text.replace('"elided"', '"w.bin"'), { elided: 'zeros' })).toThrow(/in another file/);
  });

  test('become zeros on request, without memory for them', () => {
    const w = tensor(parseText(text, { elided: 'zeros' }).graph, 'w');
    expect(w?.payload.kind).toBe('computed');
    expect(w && bytesOf(w)).toEqual(new Uint8Array(280));
    const huge = tensor(parseText(text.replace('70', '70000000000'), { elided: 'zeros' }).graph, 'w');
    expect(huge?.byteLength).toBe(280000000000);
  });

  test('are what the caller has', () => {
    const values = tensorOf(
      'float32',
      [70],
      Array.from({ length: 70 }, (_, i) => i),
    );
    const asked: unknown[] = [];
    const model = parseText(text, {
      elided: (t) => {
        asked.push(t);
        return values;
      },
    });
    expect(asked).toEqual([
      {
        name: 'w',
        dtype: 'float32',
        dims: [70],
        entries: new Map([
          ['location', 'elided'],
          ['sha256', '0123456789abcdef'],
        ]),
      },
    ]);
    expect(tensor(model.graph, 'w')).toBe(values);
  });
});

describe('errors have a place and a way out', () => {
  const code = (text: string): LoraifyError => {
    try {
      parseText(text);
    } catch (e) {
      if (e instanceof LoraifyError) return e;
      throw e;
    }
    throw new Error(`accepted: ${text}`);
  };

  test.each([
    ['', '1:1: expected a name of a graph, found the end of the text'],
    ['g\n() = () {}', '2:4: expected "=>" between inputs and outputs, found "="'],
    ['g (floot[3] x) => () {}', '1:4: "floot" is not a type, did you mean "float"?'],
    ['g (sequ(float) x) => () {}', '1:4: "sequ" is not a type, did you mean "seq"?'],
    ['g () => () {\n  # note\n  y Op ()\n}', '3:5: expected "=" after a node\'s outputs, found "Op"'],
    ['g () => () { y = Op (x }', '1:24: expected ")" after the inputs of Op, found "}"'],
    ['g () => () { y = a-b.Op () }', '1:19: expected "(" before the inputs of a, found "-b.Op"'],
    ['g () => () { y = Op <a: imt = 3> () }', '1:25: "imt" is not an attribute type, did you mean "int" or "ints"?'],
    ['g () => () { y = Op <a: int = 3.5> () }', '1:31: attribute "a" is float, not int'],
    ['g () => () { y = Op <a: ints = 3> () }', '1:32: attribute "a" is int, not ints'],
    ['g () => () { y = Op <a: int = [3]> () }', '1:31: attribute "a" is ints, not int'],
    ['g () => () { y = Op <a = []> () }', '1:26: the empty list "a" needs a type, for example "a: ints = []"'],
    ['g () => () { y = Op <a = [1, 2.5]> () }', '1:26: the list "a" mixes integers and floats: write "a: floats"'],
    ['g () => () { y = Op <a = [1, "b"]> () }', '1:26: the list "a" mixes strings and numbers'],
    ['g () => () { y = Op <a = 1, a = 2> () }', '1:29: attribute "a" occurs twice'],
    ['g () => () { y = Op <a = 9223372036854775808> () }', '1:26: 9223372036854775808 does not fit an int'],
    ['g () => () { y = Op <a = 1e39> () }', '1:26: 1e39 does not fit a float'],
    ['g () => () { y = Op <a = "é\n', '1:26: the string that starts here does not end'],
    ['<ir_versio: 3> g () => () {}', '1:2: "ir_versio" is not a field here, did you mean "ir_version"?'],
    ['<ir_version: 3.5> g () => () {}', '1:14: expected an integer, found 3.5'],
    ['g () => () <float[2] x = {1}> {}', '1:26: tensor "x" has 1 elements for 2'],
    ['g () => () <float[99999999999999999] x = {1}> {}', '1:19: 99999999999999999 is too large here'],
    ['g () => () <float[N] x = {1}> {}', '1:26: "x" has elements, so its dimensions must be numbers'],
    ['g () => () <int8[1] x = {128}> {}', '1:26: 128 does not fit int8'],
    [
      'g () => () <float16[1] x = {1.5}> {}',
      '1:29: tensor "x" is of type float16, which is not written like this: its bit patterns are written as integers',
    ],
    [
      'g () => () <int4[3] x = {1,2,3}> {}',
      '1:25: tensor "x" has 3 elements for 2: several share one byte, the first in its low bits, written as an integer',
    ],
    ['g () => () {} }', '1:15: expected a name of a function, found "}"'],
  ])('%j', (text, message) => {
    const error = code(text);
    expect(error.message).toBe(message);
    expect(error.code).toBe('TEXT_SYNTAX');
  });

  test.each([
    [
      'g (float x) => (y) { y = Op (X) }',
      'node "y" reads "X", which is not defined, did you mean "x" or "y"?',
      '1:30',
      'y',
    ],
    ['g (float "") => () {}', 'a value has no name', '1:10', undefined],
    ['g () => (z) {}', 'the graph returns "z", which is not defined', '1:10', undefined],
    ['g (float x) => () { x = Op () }', '"x" is defined twice in one graph', '1:21', undefined],
    ['g () => () <float x = {1}, float x = {2}> {}', '"x" is defined twice in one graph', '1:34', undefined],
    [
      'g () => () { y = If () <b = t () => (u) { u = A () }> z = A (u) }',
      'node "z" reads "u", which is not defined',
      '1:62',
      'z',
    ],
  ])('%j', (text, message, where, label) => {
    const error = code(text);
    expect(error.message).toContain(message);
    expect([error.code, error.where, error.node]).toEqual(['BAD_MODEL', where, label]);
  });

  test('one domain in two versions', () => {
    expect(code('<opset_import: ["" : 3, "" : 4]> g () => () {}').code).toBe('NO_OPSET');
    expect(parseText('<opset_import: ["" : 3, "" : 3]> g () => () {}').opsets.get('')).toBe(3);
  });

  test('a cycle', () => {
    expect(code('g () => () { x = Op (y) y = Op (x) }')).toMatchObject({ code: 'BAD_MODEL', node: 'x' });
  });

  test('damaged text is refused with a code, whatever the damage', () => {
    const text = `<ir_version: 9, opset_import: ["" : 18]> g (float[N,2] x, bool c = {1}) => (seq(float[]) y)
      <int4[3] w = {33, 3}, string[1] s = {"a\\"b"}, float[2] f = {1.5, -nan}> {
      ["n"] t, "" = a.b.Op:o <i = -3, l: floats = [1, 2e5], v = float[1] k {1}, r: int = @q> (x, , w) # note
      y = If (c) <then_branch = b () => (z) { z = Op (t) }> } <domain: "d"> f <a, b = 1> (q) => (r) { r = A (q) }`;
    expect(() => parseText(text)).not.toThrow();
    const piece = fc.oneof(
      fc.constantFrom('"', '{', '}', '<', '>', '[', ']', '(', ')', '=', ',', '-', '.', '@', ':', '#', ''),
      fc.string(),
    );
    const edit = fc.tuple(fc.nat(text.length), fc.nat(6), piece);
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 3 }), (edits) => {
        const damaged = edits.reduce((t, [at, length, by]) => t.slice(0, at) + by + t.slice(at + length), text);
        try {
          parseText(damaged);
        } catch (e) {
          expect(e).toBeInstanceOf(LoraifyError);
        }
      }),
      { numRuns: 3000 },
    );
  });

  test('hostile nesting', () => {
    expect(code(`g (${'seq('.repeat(100000)}`).message).toContain('nested too deep');
    expect(code('g () => () { y = Op <b = '.repeat(100000)).message).toContain('nested too deep');
  });
});
