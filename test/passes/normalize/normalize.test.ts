import { describe, expect, it } from 'vitest';
import { cloneModel } from '../../../src/graph/clone.ts';
import type { Layer, Model } from '../../../src/graph/model.ts';
import { parseText } from '../../../src/parser/index.ts';
import { verify } from '../../../src/passes/common/verify.ts';
import { normalize } from '../../../src/passes/normalize/index.ts';
import { coded } from '../../support/coded.ts';
import { compute, expectSame, type RunOptions } from '../../support/compute.ts';

const ops = (m: Model): string => [...m.graph.allNodes()].map((n) => n.op).join(' ');

function normalized(text: string, opset?: number): Model {
  const model = parseText(text);
  verify(model);
  normalize(model, opset === undefined ? {} : { opset });
  return model;
}

interface CheckOptions extends RunOptions {
  /** What computes the same, where ONNX Runtime does not run the source itself. */
  readonly against?: string;
}

/** Normalizes, compares the operators and what both compute. */
async function check(text: string, expected: string, options: CheckOptions = {}): Promise<Model> {
  const source = parseText(text);
  const { model } = cloneModel(source);
  normalize(model);
  verify(source);
  expect(ops(model)).toBe(expected);
  expectSame(
    await compute(model, options),
    await compute(options.against === undefined ? source : parseText(options.against), options),
  );
  return model;
}

const header = (opset: number, more = ''): string => `<ir_version: 10, opset_import: ["" : ${opset}${more}]>`;

describe('functions', () => {
  const mine = header(18, ', "mine" : 1');

  it('are inlined, nested calls too, and named after their calls', async () => {
    const m = await check(
      `${mine} main (float[2,3] x) => (float[2,3] y) { [first] a = mine.twice (x) [second] y = mine.twice (a) }
       <domain: "mine", opset_import: ["" : 18, "mine" : 1]> twice (v) => (w) { [outer] t = mine.once (v) w = mine.once (t) }
       <domain: "mine", opset_import: ["" : 18]> once (v) => (w) { [inner] r = Relu (v) w = Neg (r) }`,
      'Relu Neg Relu Neg Relu Neg Relu Neg',
    );
    expect(m.functions).toEqual([]);
    expect([...m.opsets]).toEqual([['', 18]]);
    expect(m.graph.nodes[0]?.name).toBe('first/outer/inner');
    expect(m.graph.nodes[0]?.outputs[0]?.name).toBe('first/outer/r');
    expect(m.graph.nodes.at(-1)?.outputs[0]?.name).toBe('y');
  });

  it('take attributes from the call, else from their defaults, else leave them out', async () => {
    const body = `<domain: "mine", opset_import: ["" : 18]> soft <axis, alpha: float = 0.5> (v) => (w)
      { a = Softmax <axis: int = @axis> (v) w = LeakyRelu <alpha: float = @alpha> (a) }`;
    const call = (attrs: string): string =>
      `${mine} main (float[2,3] x) => (float[2,3] y) { m = Neg (x) y = mine.soft ${attrs} (m) } ${body}`;
    const given = await check(call('<axis = 0, alpha = 0.25>'), 'Neg Softmax LeakyRelu');
    expect(given.graph.nodes[1]?.attrs.get('axis')).toMatchObject({ value: 0 });
    expect(given.graph.nodes[2]?.attrs.get('alpha')).toMatchObject({ value: 0.25 });
    const left = await check(call(''), 'Neg Softmax LeakyRelu');
    expect(left.graph.nodes[1]?.attrs.has('axis')).toBe(false);
    expect(left.graph.nodes[2]?.attrs.get('alpha')).toMatchObject({ value: 0.5 });
  });

  it('resolve attribute references inside bodies of control flow', async () => {
    await check(
      `${mine} main (float[2,3] x, bool c) => (float[2,3] y) { y = mine.pick <axis = 0> (x, c) }
       <domain: "mine", opset_import: ["" : 18]> pick <axis> (v, c) => (w)
       { w = If (c) <then_branch = t () => (a) { a = Softmax <axis: int = @axis> (v) }, else_branch = e () => (b) { b = Neg (v) }> }`,
      'If Softmax Neg',
    );
  });

  it('may leave out optional inputs', async () => {
    const m = await check(
      `${mine} main (float[2,3] x) => (float[2,3] y) <float half = {0.5}> { y = mine.bound (x, "", half) }
       <domain: "mine", opset_import: ["" : 18]> bound (v, low, high) => (w) { w = Clip (v, low, high) }`,
      'Clip',
    );
    expect(m.graph.nodes[0]?.inputs.map((v) => v?.name)).toEqual(['x', undefined, 'half']);
  });

  it('may return an input, and one result twice', async () => {
    await check(
      `${mine} main (float[2,3] x) => (float[2,3] y, float[2,3] z, float[2,3] u) { y, z, u = mine.more (x) }
       <domain: "mine", opset_import: ["" : 18]> more (v) => (w, v, w) { w = Neg (v) }`,
      'Neg Identity Identity',
      {
        against: `${header(18)} main (float[2,3] x) => (float[2,3] y, float[2,3] z, float[2,3] u)
          { y = Neg (x) z = Identity (x) u = Neg (x) }`,
      },
    );
  });

  it('that return an input which the call leaves out are refused', () => {
    const text = `${mine} main (float[2] x) => (float[2] y, float[2] z) { y, z = mine.a (x) }
      <domain: "mine", opset_import: ["" : 18]> a (v, u) => (w, u) { w = Neg (v) }`;
    expect(() => normalized(text)).toThrow(expect.toSatisfy(coded('BAD_MODEL', 'returns its input "u"')));
  });

  // ONNX Runtime checks such bodies against the model's opset, so the same body in an old model is the reference.
  it('of an older opset are upgraded from their own', async () => {
    const body = 's = Softmax <axis = 2> (v) w = ReduceSum <axes = [2], keepdims = 0> (s)';
    await check(
      `${mine} main (float[2,3,4] v) => (float[2,3] w) { w = mine.old (v) }
       <domain: "mine", opset_import: ["" : 12]> old (v) => (w) { ${body} }`,
      'Softmax ReduceSum',
      { against: `${header(12)} main (float[2,3,4] v) => (float[2,3] w) { ${body} }` },
    );
  });

  it('of a newer opset raise the target', () => {
    const m = normalized(
      `${mine} main (float[2,3] x) => (float[2,3] y) { y = mine.gelu (x) }
       <domain: "mine", opset_import: ["" : 20]> gelu (v) => (w) { w = Gelu (v) }`,
    );
    expect(m.opsets.get('')).toBe(20);
  });

  it('keep the layer of an adapted product in their body', () => {
    const layer: Layer = {
      path: 'p',
      op: 'MatMul',
      weight: 'w',
      layout: 'in_out',
      in: 3,
      out: 3,
      rank: 1,
      alpha: 1,
      scale: 1,
      A: 'a',
      B: 'b',
    };
    const model = parseText(
      `${header(18, ', "mine" : 1, "loraify" : 1')} main (float[2,3] x, float[3,3] w, float[3,1] a, float[1,3] b) => (float[2,3] y)
       { y = mine.lin (x, w, a, b) }
       <domain: "mine", opset_import: ["" : 18, "loraify" : 1]> lin (v, w, a, b) => (r) { r = loraify.Adapted (v, w, a, b) }`,
    );
    for (const n of model.functions[0]?.body.nodes ?? []) n.layer = layer;
    normalize(model);
    expect(model.graph.nodes.map((n) => [n.op, n.layer])).toEqual([['Adapted', layer]]);
  });

  it('are told apart by their overloads', async () => {
    await check(
      `${mine} main (float[2,3] x) => (float[2,3] y) { a = mine.f:one (x) y = mine.f:two (a) }
       <domain: "mine", overload: "one", opset_import: ["" : 18]> f (v) => (w) { w = Neg (v) }
       <domain: "mine", overload: "two", opset_import: ["" : 18]> f (v) => (w) { w = Abs (v) }`,
      'Neg Abs',
    );
  });

  it('that call themselves are refused', () => {
    const text = `${mine} main (float[2] x) => (float[2] y) { y = mine.a (x) }
      <domain: "mine", opset_import: ["" : 18, "mine" : 1]> a (v) => (w) { w = mine.b (v) }
      <domain: "mine", opset_import: ["" : 18, "mine" : 1]> b (v) => (w) { w = mine.a (v) }`;
    expect(() => normalized(text)).toThrow(expect.toSatisfy(coded('BAD_MODEL', 'function "a"', 'calls itself')));
  });

  it('called with more than they take are refused', () => {
    const text = `${mine} main (float[2] x) => (float[2] y) { y = mine.a (x, x) }
      <domain: "mine", opset_import: ["" : 18]> a (v) => (w) { w = Neg (v) }`;
    expect(() => normalized(text)).toThrow(expect.toSatisfy(coded('BAD_MODEL', 'more inputs')));
  });
});

describe('constants', () => {
  it('in nodes become initializers, whatever attribute holds them', async () => {
    const m = await check(
      `${header(13)} main (float[2,3] x) => (float[2,3] y, int64[2] z)
       { a = Constant <value = float[3] {1, 2, 3}> () b = Constant <value_float = 2.0> () z = Constant <value_ints = [4, 5]> ()
         c = Mul (x, a) y = Mul (c, b) }`,
      'Identity Mul Mul',
    );
    expect(m.graph.initializers.map((v) => v.name)).toEqual(expect.arrayContaining(['a', 'b', 'z.value']));
  });

  it('with a default that a caller could replace are fixed', async () => {
    const m = await check(
      `${header(18)} main (float[2] x, float[2] w) => (float[2] y) <float[2] w = {1, 2}> { y = Mul (x, w) }`,
      'Mul',
    );
    expect(m.graph.inputs.map((v) => v.name)).toEqual(['x']);
  });
});

describe('folding', () => {
  it('computes shape arithmetic, and keeps what depends on unknown lengths', async () => {
    await check(
      `${header(18)} main (float[2,3,4] x) => (float[6,4] y) <int64 zero = {0}, int64 one = {1}, int64[1] axis = {0}, int64[1] rest = {-1}>
       { s = Shape (x) a = Gather (s, zero) b = Gather (s, one) c = Mul (a, b) d = Unsqueeze (c, axis)
         e = Concat <axis = 0> (d, rest) y = Reshape (x, e) }`,
      'Reshape',
    );
    const m = await check(
      `${header(18)} main (float[N,3,4] x) => (float[M,4] y) <int64 zero = {0}, int64 one = {1}, int64[1] axis = {0}, int64[1] four = {4}>
       { s = Shape (x) a = Gather (s, zero) b = Gather (s, one) c = Mul (a, b) d = Unsqueeze (c, axis)
         e = Concat <axis = 0> (d, four) y = Reshape (x, e) }`,
      'Shape Gather Mul Unsqueeze Concat Reshape',
      { sizes: { N: 2 } },
    );
    expect(m.graph.nodes[2]?.inputs[1]?.tensor).toBeDefined();
  });

  it('never touches large tensors', async () => {
    const m = await check(
      `${header(18)} main (float[2] x) => (float[2,4096] y) <int64[1] n = {4096}, int64[1] axis = {-1}>
       { a = ConstantOfShape <value = float[1] {2}> (n) b = Unsqueeze (x, axis) y = Mul (a, b) }`,
      'ConstantOfShape Unsqueeze Mul',
    );
    expect(m.graph.initializers.every((v) => (v.tensor?.byteLength ?? 0) < 100)).toBe(true);
  });

  it('puts the branch of a known condition in place of the If', async () => {
    await check(
      `${header(18)} main (float[2,3] x) => (float[2,3] y) <int64 two = {2}>
       { s = Shape (x) n = Size (s) c = Equal (n, two)
         z = If (c) <then_branch = t () => (float[2,3] a) { q = Constant <value = float {3}> () a = Mul (x, q) },
                     else_branch = e () => (float[2,3] b) { b = Identity (x) }>
         y = Neg (z) }`,
      'Mul Neg',
    );
    await check(
      `${header(18)} main (float[2,3] x) => (float[2,3] y) <bool c = {0}>
       { y = If (c) <then_branch = t () => (float[2,3] a) { a = Neg (x) }, else_branch = e () => (float[2,3] b) { b = Identity (x) }> }`,
      'Identity',
    );
  });

  it('works inside bodies and removes what nobody reads there', async () => {
    await check(
      `${header(18)} main (float[2,3] x, bool c) => (float[3,2] y) <int64[2] p = {1, 0}, int64 zero = {0}>
       { y = If (c) <then_branch = t () => (float[3,2] a) { s = Shape (x) r = Gather (s, p) u = Neg (x) a = Reshape (x, r) },
                     else_branch = e () => (float[3,2] b) { b = Transpose (x) }> }`,
      'If Reshape Transpose',
    );
  });

  it('knows that what a loop carries changes', async () => {
    await check(
      `${header(18)} main (float[2,3] x) => (int64 y, int64[4] z)
       <int64 n = {4}, bool go = {1}, int64 zero = {0}, int64 one = {1}>
       { y, z = Loop <body = b (int64 i, bool c, int64 v) => (bool d, int64 w, int64 u) { d = Identity (c) w = Add (v, one) u = Mul (w, w) }> (n, go, zero) }`,
      'Loop Identity Add Mul',
    );
    await check(
      `${header(18)} main (float[3,2] x) => (int64[1] y, float[3,1] z) <int64[1] one = {1}>
       { y, z = Scan <num_scan_inputs = 1, body = b (int64[1] v, float[2] r) => (int64[1] w, float[1] q)
         { w = Add (v, one) q = ReduceSum (r) }> (one, x) }`,
      'Scan Add ReduceSum',
    );
  });

  it('does not take one branch for the other', async () => {
    await check(
      `${header(18)} main (float[2,3] x, bool c) => (int64[1] y)
       { v = If (c) <then_branch = t () => (int64[1] a) { a = Constant <value_ints = [1]> () },
                     else_branch = e () => (int64[1] b) { b = Constant <value_ints = [2]> () }>
         y = Add (v, v) }`,
      'If Identity Identity Add',
    );
  });

  it('leaves the way from a weight to an adapted product as it is', () => {
    const model = parseText(
      `${header(18, ', "loraify" : 1')} main (float[2,3] x, float[2,1] b) => (float[2,2] y)
       <float[2,3] w = {1, 2, 3, 4, 5, 6}, float[3,1] a = {1, 2, 3}>
       { t = Transpose (w) y = loraify.Adapted (x, t, a, b) }`,
    );
    for (const n of model.graph.nodes)
      if (n.op === 'Adapted')
        n.layer = {
          path: 'p',
          op: 'MatMul',
          weight: 'w',
          layout: 'out_in',
          in: 3,
          out: 2,
          rank: 1,
          alpha: 1,
          scale: 1,
          A: 'a',
          B: 'b',
        };
    normalize(model);
    expect(ops(model)).toBe('Transpose Adapted');
  });
});

describe('values that are only handed on', () => {
  it('go, and outputs keep their names', async () => {
    const m = await check(
      `${header(18)} main (float[2] x) => (float[2] y, float[2] z) { a = Identity (x) b = Neg (a) c = Identity (b) y = Identity (c) z = Identity (x) }`,
      'Neg Identity',
    );
    expect(m.graph.outputs.map((v) => [v.name, v.producer?.op])).toEqual([
      ['y', 'Neg'],
      ['z', 'Identity'],
    ]);
  });
});

describe('target opset', () => {
  const text = (opset: number): string => `${header(opset)} main (float[2] x) => (float[2] y) { y = Neg (x) }`;
  it("is the source's, at least 18, or higher where asked for", () => {
    expect(normalized(text(11)).opsets.get('')).toBe(18);
    expect(normalized(text(23)).opsets.get('')).toBe(23);
    expect(normalized(text(11), 21).opsets.get('')).toBe(21);
    expect(normalized(text(11), 21).irVersion).toBe(10);
    expect(normalized(text(24)).irVersion).toBe(12);
  });
  it('is never lower', () => {
    expect(() => normalized(text(20), 19)).toThrow(expect.toSatisfy(coded('OPSET_TOO_LOW', '19', '20')));
    expect(() => normalized(text(11), 17)).toThrow(expect.toSatisfy(coded('OPSET_TOO_LOW', '17', '18')));
  });
  it('is as high as the forms of its operators', () => {
    const dft = `${header(17)} main (float[N,8,1] x) => (float[N,8,2] y) { y = DFT (x) }`;
    expect(normalized(dft).opsets.get('')).toBe(20);
    expect(() => normalized(dft, 19)).toThrow(expect.toSatisfy(coded('OPSET_TOO_LOW', '19', '20', 'DFT')));
  });
  it('has to be one that the runtime knows', () => {
    expect(() => normalized(text(6))).toThrow(expect.toSatisfy(coded('UNSUPPORTED_VERSION', '6')));
    expect(() => normalized(text(18), 27)).toThrow(expect.toSatisfy(coded('UNSUPPORTED_VERSION', '27')));
  });
});

describe('forms that ONNX Runtime does not run, or calls otherwise', () => {
  const numbers = (count: number): string =>
    Array.from({ length: count }, (_, i) => Math.sin(i + count) / 2).join(', ');
  it('recurrences with the batch first', async () => {
    const form = (nodes: string): string => `${header(17)}
      main (float[N,4,2] x, float[N,2,3] h) => (float[N,4,2,3] y, float[N,2,3] last)
      <float[2,9,2] w = {${numbers(36)}}, float[2,9,3] r = {${numbers(54)}}, float[2,18] b = {${numbers(36)}}> { ${nodes} }`;
    const attrs = 'hidden_size = 3, direction = "bidirectional"';
    await check(
      form(`y, last = GRU <${attrs}, layout = 1> (x, w, r, b, "", h)`),
      'Transpose Transpose GRU Transpose Transpose',
      {
        sizes: { N: 5 },
        against: form(`s = Transpose <perm = [1, 0, 2]> (x) t = Transpose <perm = [1, 0, 2]> (h)
          o, f = GRU <${attrs}> (s, w, r, b, "", t)
          y = Transpose <perm = [2, 0, 1, 3]> (o) last = Transpose <perm = [1, 0, 2]> (f)`),
      },
    );
  });
  it('of a recurrence only what is read', () => {
    const m = normalized(`${header(17)} main (float[N,4,2] x) => (float[N,1,3] last)
      <float[1,3,2] w = {${numbers(6)}}, float[1,3,3] r = {${numbers(9)}}>
      { "", last = RNN <hidden_size = 3, layout = 1> (x, w, r) }`);
    expect(ops(m)).toBe('Transpose RNN Transpose');
  });
  it('TransposeMatMul', () =>
    check(
      `${header(17, ', "com.microsoft" : 1')} main (float[N,3] x, float[N,4] z) => (float[3,4] y)
        { y = com.microsoft.TransposeMatMul <transA = 1, alpha = 0.5> (x, z) }`,
      'FusedMatMul',
      { sizes: { N: 5 } },
    ));
});
