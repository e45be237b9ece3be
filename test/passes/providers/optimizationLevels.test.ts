/** Graphs that ONNX Runtime computes wrongly, or does not load, when it optimizes them: after the passes every level gives the same. */
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { compileModel } from '../../../src/compile/compileModel.ts';
import { resolveOptions } from '../../../src/compile/options.ts';
import { encodeModel } from '../../../src/emit/index.ts';
import { createBuilder } from '../../../src/graph/builder.ts';
import type { Model } from '../../../src/graph/model.ts';
import { parseText } from '../../../src/parser/index.ts';
import { compactNorms } from '../../../src/passes/canonicalize/norms.ts';
import { verify } from '../../../src/passes/common/verify.ts';
import { exposeAdapters } from '../../../src/passes/lower/exposeAdapters.ts';
import { knownReshapes } from '../../../src/passes/optimize/foldReshapes.ts';
import { columnVectors } from '../../../src/passes/providers/columnVectors.ts';
import { inferNode, inferShapes } from '../../../src/passes/shapes/index.ts';

const levels = ['disabled', 'basic', 'extended', 'all'] as const;
type Level = (typeof levels)[number];

/** The first output, as text, with inputs 1, 2, 3 … of the shapes that these symbols give. */
async function run(model: Model, level: Level): Promise<{ dims: readonly number[]; values: readonly number[] }> {
  const sizes: Readonly<Record<string, number>> = { N: 2, M: 3, r: 2 };
  const options = { graphOptimizationLevel: level, logSeverityLevel: 4 } as const;
  const session = await InferenceSession.create(encodeModel(model), options);
  const feeds = model.graph.inputs.map((v) => {
    const dims = (v.shape ?? []).map((d) =>
      typeof d === 'number' ? d : (sizes[d?.replace(/^lora_r.*/, 'r') ?? ''] ?? 1),
    );
    const values = Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, (_, i) => i + 1);
    return [v.name, new Tensor('float32', values, dims)] as const;
  });
  const y = (await session.run(Object.fromEntries(feeds)))[session.outputNames[0] ?? ''];
  await session.release();
  if (!(y?.data instanceof Float32Array)) throw new Error('no result');
  return { dims: y.dims, values: [...y.data] };
}

/** What the model computes as it is written, and after the passes at every level. */
async function expectSame(text: string, pass: (model: Model) => void): Promise<Model> {
  const expected = await run(parseText(text), 'disabled');
  const model = parseText(text);
  inferShapes(model.graph);
  pass(model);
  model.graph.adopt();
  verify(model);
  for (const level of levels) expect([level, await run(model, level)]).toEqual([level, expected]);
  return model;
}

describe('a product with a vector', () => {
  const vectors = (model: Model): void => columnVectors(model.graph, createBuilder(inferNode, model.graph.inputs));
  it.each([
    ['Transpose', 'float[N, M] x, float[N] v', 't = Transpose <perm: ints = [1, 0]> (x)'],
    ['Transpose behind something elementwise', 'float[N, M] x, float[N] v', 'u = Transpose (x) t = Neg (u)'],
    ['batch', 'float[4, N, M] x, float[N] v', 't = Transpose <perm: ints = [0, 2, 1]> (x)'],
  ])('%s', async (is, inputs, t) => {
    const result = is === 'batch' ? '[B, R]' : '[R]';
    const model = await expectSame(
      `<ir_version: 8, opset_import: ["" : 18]> main (${inputs}) => (float${result} y) { ${t} y = MatMul (t, v) }`,
      vectors,
    );
    expect(model.graph.nodes.map((n) => n.op)).toContain('Squeeze');
  });

  it('inside a body', async () => {
    const text = `<ir_version: 8, opset_import: ["" : 18]> main (float[N, M] x, float[N] v) => (float[M] y) {
      zero = Constant <value_float = 0.0> ()
      first = ReduceMax <keepdims = 0> (x)
      c = Greater (first, zero)
      y = If (c) <
        then_branch = yes () => (a) { t = Transpose <perm: ints = [1, 0]> (x) a = MatMul (t, v) },
        else_branch = no () => (b) { u = Transpose <perm: ints = [1, 0]> (x) b = MatMul (u, v) }
      >
    }`;
    await expectSame(text, vectors);
  });

  it('two vectors stay', () => {
    const model = parseText(
      '<ir_version: 8, opset_import: ["" : 18]> main (float[N] x, float[N] v) => (float y) { y = MatMul (x, v) }',
    );
    inferShapes(model.graph);
    vectors(model);
    model.graph.adopt();
    expect(model.graph.nodes).toHaveLength(1);
  });

  it('W·x with the adapter as inputs', async () => {
    const text = `<ir_version: 8, opset_import: ["" : 18]> main (float[3] x) => (float[2] y)
      <float[2, 3] "layer.weight" = {1, 2, 3, 4, 5, 7}> { y = MatMul ("layer.weight", x) }`;
    const compiled = compileModel(parseText(text), resolveOptions({ rank: 2, alpha: 2, emit: ['model'] }));
    const model = compiled.graphs.get('model');
    if (model === undefined) throw new Error('no model');
    exposeAdapters(model, compiled.layers, 'required', false);
    // y = W·x + ((x·A)·B)ᵀ with x = [1, 2, 3], A = [[1, 2], [3, 4], [5, 6]], B = [[1, 2], [3, 4]].
    const expected = { dims: [2], values: [14 + 22 + 84, 35 + 44 + 112] };
    for (const level of levels) expect([level, await run(model, level)]).toEqual([level, expected]);
  });
});

describe('reshapes to known lengths', () => {
  const known = (model: Model): void => knownReshapes(model.graph, createBuilder(inferNode, model.graph.inputs));
  const head = '<ir_version: 8, opset_import: ["" : 18]> main (float[N, 4] x) => (float';
  it.each([
    ['Reshape', '[2, 4] y)', 'y = Reshape (r, c)'],
    ['Unsqueeze', '[1, 2, 4] y)', 'u = Reshape (r, c) y = Unsqueeze (u, zero)'],
    ['Squeeze', '[8] y)', 'u = Reshape (r, flat) y = Squeeze (u, zero)'],
  ])('%s behind one of computed lengths', async (_, type, rest) => {
    const model = await expectSame(
      `${head}${type} <int64[2] c = {2, 4}, int64[1] zero = {0}, int64[2] flat = {1, 8}> {
        t = Neg (x) s = Shape (x) v = Reshape (t, s) r = Reshape (v, s) ${rest}
      }`,
      known,
    );
    expect(model.graph.nodes.filter((n) => n.op === 'Reshape')[0]?.inputs[1]?.tensor).toBeDefined();
  });

  it('without elements', async () => {
    await expectSame(
      `${head.replace('[N, 4]', '[N, 0]')}[3, 0] y) <int64[2] c = {3, 0}, int64[2] d = {0, 3}> {
        t = Neg (x) s = Shape (x) r = Reshape <allowzero = 1> (t, s) y = Reshape <allowzero = 1> (r, c)
      }`,
      known,
    );
  });
});

describe('normalizations written out', () => {
  it('without a bias become one node that has no empty input behind it: ONNX Runtime ends the process over one', async () => {
    const text = `<ir_version: 8, opset_import: ["" : 18]> main (float[N, 4] x) => (float[N, 4] y)
      <float[4] scale = {1, 2, 3, 4}, int64[1] last = {-1}, float two = {2}, float e = {0.5}> {
        mean = ReduceMean (x, last)
        c = Sub (x, mean)
        square = Pow (c, two)
        variance = ReduceMean (square, last)
        sum = Add (variance, e)
        root = Sqrt (sum)
        n = Div (c, root)
        y = Mul (n, scale)
      }`;
    const { values } = await run(parseText(text), 'disabled');
    const model = parseText(text);
    inferShapes(model.graph);
    compactNorms(model.graph, true);
    verify(model);
    expect(model.graph.nodes.map((n) => [n.op, n.inputs.length])).toEqual([['LayerNormalization', 2]]);
    // Another kernel, another order of sums.
    for (const level of levels)
      for (const [i, v] of (await run(model, level)).values.entries())
        expect(v, level).toBeCloseTo(values[i] ?? Number.NaN, 5);
  });
});
