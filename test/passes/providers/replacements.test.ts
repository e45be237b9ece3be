/** Other forms for providers that lack a kernel: they compute the same, and hold nothing that the provider lacks. */
import { describe, expect, it } from 'vitest';
import { createBuilder } from '../../../src/graph/builder.ts';
import { cloneModel } from '../../../src/graph/clone.ts';
import type { Model } from '../../../src/graph/model.ts';
import { parseText } from '../../../src/parser/index.ts';
import { verify } from '../../../src/passes/common/verify.ts';
import { normalize } from '../../../src/passes/normalize/index.ts';
import { providerGaps, replaceMissing } from '../../../src/passes/providers/replacements.ts';
import { splitWideNodes } from '../../../src/passes/providers/splitWideNodes.ts';
import { inferNode } from '../../../src/passes/shapes/index.ts';
import { coded } from '../../support/coded.ts';
import { compute, expectSame } from '../../support/compute.ts';

const parsed = (opset: number, graph: string): Model => {
  const model = parseText(`<ir_version: 8, opset_import: ["" : ${opset}]> main ${graph}`);
  normalize(model);
  return model;
};

const unary = (op: string, attrs = ''): string => `(float[N,5] x) => (float[N,5] y) { y = ${op} ${attrs} (x) }`;
/** Provider, opset, graph, operators of the other form. */
const cases: readonly (readonly ['cuda' | 'webgpu', number, string, string])[] = [
  ['cuda', 18, '(float[N,5] x, float[5] z) => (float[N,5] y) { y = Mean (x, z) }', 'Sum Mul'],
  ['cuda', 18, unary('Cosh'), 'Exp Neg Exp Add Mul'],
  ['cuda', 18, unary('Tan'), 'Sin Cos Div'],
  ['cuda', 18, unary('Celu', '<alpha = 0.7>'), 'Max Min Mul Exp Sub Mul Add'],
  ['cuda', 18, unary('Elu', '<alpha = 0.7>'), 'Elu'],
  ['cuda', 22, unary('Elu', '<alpha = 0.7>'), 'Max Mul Min Exp Sub Mul Add'],
  ['cuda', 22, unary('Selu'), 'Max Mul Min Exp Sub Mul Add'],
  ['cuda', 22, unary('ThresholdedRelu', '<alpha = 0.2>'), 'Greater Where'],
  [
    'cuda',
    22,
    '(float[N,2,5] x) => (float[N,2,5] y) <float[2] s = {1, 2}, float[2] b = {0.5, -1}> { y = InstanceNormalization (x, s, b) }',
    'ReduceMean Sub Mul ReduceMean Add Sqrt Div Reshape Mul Reshape Add',
  ],
  [
    'cuda',
    18,
    '(float[2,2,3,4] x) => (float[2,2,3,4] y) { y = MeanVarianceNormalization (x) }',
    'ReduceMean Sub Mul ReduceMean Sqrt Add Div',
  ],
  ['cuda', 18, '(float[N,2,4] x) => (float[N,2,1] y) { y = GlobalLpPool (x) }', 'Abs Pow ReduceSum Pow'],
  [
    'cuda',
    18,
    '(float[1,2,5] x) => (float[1,2,3] y) { y = LpPool <kernel_shape = [2], strides = [2], ceil_mode = 1> (x) }',
    'Abs Pow Reshape Expand Conv Reshape Pow',
  ],
  [
    'cuda',
    18,
    '(int64[3] x, int64[4] u) => (int64[3] y) <int64[4] i = {0, 2, 0, 1}> { y = ScatterElements <reduction = "add"> (x, i, u) }',
    'Cast Cast ScatterElements Cast',
  ],
  ['webgpu', 18, '(float[N,5] x, float[5] z) => (float[N,5] y) { y = Sum (x, z, x) }', 'Add Add'],
  ['webgpu', 18, '(float[N,5] x, float[5] z) => (float[N,5] y) { y = Mean (x, z) }', 'Add Mul'],
  ['webgpu', 18, unary('LogSoftmax', '<axis = 0>'), 'ReduceMax Sub Exp ReduceSum Log Sub'],
  ['webgpu', 18, unary('Sign'), 'Greater Cast Less Cast Sub'],
  ['webgpu', 18, unary('Selu'), 'Max Mul Min Exp Sub Mul Add'],
  ['webgpu', 18, '(bool[N] x, bool[N] z) => (bool[N] y) { y = Or (x, z) }', 'Not Not And Not'],
  ['webgpu', 18, '(bool[N] x, bool[N] z) => (bool[N] y) { y = Xor (x, z) }', 'Equal Not'],
  [
    'webgpu',
    23,
    '(float[N,2,3,4] q, float[N,2,5,4] k, float[N,2,5,4] v) => (float[N,2,3,4] y) { y = Attention (q, k, v) }',
    'Mul Transpose MatMul Softmax MatMul',
  ],
];

describe('other forms', () => {
  it.each(cases)('%s, opset %i: %s', async (target, opset, graph, ops) => {
    const source = parsed(opset, graph);
    const { model } = cloneModel(source);
    replaceMissing(model, target);
    expect([...model.graph.allNodes()].map((n) => n.op).join(' ')).toBe(ops);
    // Other kernels, other roundings of float32.
    expectSame(await compute(model, { sizes: { N: 3 } }), await compute(source, { sizes: { N: 3 } }), 1e-6);
  });

  it('are not made where every provider is to run the graph', () => {
    const model = parsed(18, unary('Tan'));
    replaceMissing(model, 'portable');
    expect(model.graph.nodes.map((n) => n.op)).toEqual(['Tan']);
  });
});

describe('gaps', () => {
  it('without another form are named', () => {
    expect(providerGaps(parsed(18, unary('Asinh')), 'cuda')).toEqual([
      expect.stringMatching(/^Asinh will run on the CPU/),
    ]);
    expect(providerGaps(parsed(18, unary('Tan')), 'cuda')).toEqual([]);
    expect(providerGaps(parsed(18, unary('Asinh')), 'portable')).toEqual([]);
    const pool = '(float[1,2,5] x) => (float[1,2,4] y) { y = MaxPool <kernel_shape = [2]> (x) }';
    expect(providerGaps(parsed(21, pool), 'cuda')).toEqual([]);
    expect(providerGaps(parsed(22, pool), 'cuda')).toEqual([expect.stringMatching(/^MaxPool will run on the CPU/)]);
  });

  it('that would be wrong are refused', () => {
    const graph =
      '(double[3] x, double[1] u) => (double[3] y) <int64[1,1] i = {1}> { y = ScatterND <reduction = "add"> (x, i, u) }';
    expect(() => providerGaps(parsed(18, graph), 'cuda')).toThrow(
      expect.toSatisfy(coded('PROVIDER_GAP', 'CUDA', 'ScatterND', 'float64')),
    );
  });

  it('integers in a layout of the provider are refused', () => {
    const graph = (attrs: string): string =>
      `(float[5,8] x, float[5,2] r, uint8[2,4,4] a, float[2,4] s, uint8[2,8,2] b, float[2,8] t) => (float[5,8] y)
       { y = com.microsoft.QMoE <${attrs}> (x, r, a, s, , b, t) }`;
    const read = (attrs: string) =>
      parseText(`<ir_version: 8, opset_import: ["" : 18, "com.microsoft" : 1]> main ${graph(attrs)}`);
    expect(() => providerGaps(read('k = 1'), 'cuda')).toThrow(
      expect.toSatisfy(coded('PROVIDER_GAP', 'CUDA', 'QMoE', 'weights_prepacked')),
    );
    expect(providerGaps(read('k = 1, weights_prepacked = 0'), 'cuda')).toEqual([]);
    expect(providerGaps(read('k = 1'), 'portable')).toEqual([]);
  });
});

describe('more values than a WebGPU shader has buffers', () => {
  const names = Array.from({ length: 20 }, (_, i) => `a${i}`);
  const text = (
    split: string,
  ): string => `(float[20,3] x) => (float[20,3] y) <int64[20] n = {${names.map(() => 1).join(', ')}}> {
    ${names.join(', ')} = Split ${split}
    ${names.map((n, i) => `b${i} = Mul (${n}, ${names[19 - i]})`).join('\n')}
    y = Concat <axis = 0> (${names.map((_, i) => `b${i}`).join(', ')})
  }`;

  it.each(['<axis = 0> (x, n)', '<axis = 0, num_outputs = 20> (x)', '<axis = -2, num_outputs = 20> (x)'])(
    'are cut and joined in trees that compute the same: %s',
    async (split) => {
      const source = parsed(18, text(split));
      const { model } = cloneModel(source);
      splitWideNodes(model.graph, createBuilder(inferNode));
      const sizes = model.graph.nodes.flatMap((n) =>
        n.op === 'Split' ? [n.outputs.length] : n.op === 'Concat' ? [n.inputs.length] : [],
      );
      expect(sizes.length).toBeGreaterThan(2);
      expect(Math.max(...sizes)).toBeLessThanOrEqual(7);
      verify(model);
      expectSame(await compute(model, {}), await compute(source, {}));
    },
  );
});
