/** Outputs that merge the axes of rows and positions: labels have them separate, and the loss is that of a loop. */
import { Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { compileModel } from '../../../src/compile/compileModel.ts';
import { labelsText } from '../../../src/compile/labelsText.ts';
import { type CompileOptions, resolveOptions } from '../../../src/compile/options.ts';
import { parseText } from '../../../src/parser/index.ts';
import { coded } from '../../support/coded.ts';
import { floats, run } from '../../support/executeGraphs.ts';

const [rows, steps, width, classes] = [2, 3, 4, 3];
const wave = (count: number, step: number): number[] =>
  Array.from({ length: count }, (_, i) => Math.sin(1 + step * i) / 2);

/** A layer, and `nodes` from its result a to the output y. */
const model = (nodes: string, x = 'float[N,S,4]'): string => `<ir_version: 8, opset_import: ["" : 17]>
g (${x} x) => (float[M,3] y)
<float[4,4] W = {${wave(16, 3)}}, float[4,3] V = {${wave(12, 5)}}, float[3] b = {0.1, 0.2, 0.3}, int64[2] flat = {-1, 4}, int64[2] wide = {-1, 3}>
{
  a = MatMul (x, W)
  ${nodes}
}`;
const compiled = (text: string, options: CompileOptions) =>
  compileModel(parseText(text), resolveOptions({ rank: 2, emit: ['eval'], ...options }));

async function evaluated(
  text: string,
  loss: 'cross-entropy' | 'mse' | 'bce',
  shape: readonly number[],
  labels: number[],
) {
  const { graphs, layout, prepared } = compiled(text, { loss });
  const graph = graphs.get('eval');
  if (graph === undefined || prepared === undefined) throw new Error('no graph');
  const input = graph.graph.inputs.find((v) => v.name === 'labels');
  const float = (data: number[], dims: readonly number[]): Tensor => new Tensor('float32', data, dims);
  const results = await run(graph, {
    x: float(wave(rows * steps * width, 7), [rows, steps, width]),
    labels: loss === 'cross-entropy' ? new Tensor('int64', labels, shape) : float(labels, shape),
    lora_params: float(
      wave(layout.size, 0.1).map((p) => p / 10),
      [layout.size],
    ),
  });
  return {
    loss: Number(results.loss?.data[0]),
    y: [...floats(results.y)],
    labels: input?.shape,
    axis: prepared.batch.labels,
    words: labelsText(prepared.choice, -100),
  };
}

/** The cross-entropy of row i of y with class i of the labels. */
function crossEntropy(y: readonly number[], labels: readonly number[]): number {
  const losses = labels.map((label, i) => {
    const z = y.slice(i * classes, (i + 1) * classes);
    return Math.log(z.reduce((n, v) => n + Math.exp(v), 0)) - (z[label] ?? Number.NaN);
  });
  return losses.reduce((a, b) => a + b, 0) / losses.length;
}

const targets = [0, 2, 1, 1, 2, 0];
const plain = 'f = Reshape (a, flat) g = MatMul (f, V) y = Add (g, b)';

describe('logits [N*S, classes]', () => {
  it.each([
    ['a Reshape before the last layer', plain],
    ['a Reshape behind it', 'g = MatMul (a, V) y = Reshape (g, wide)'],
    ['a Flatten', 'r = Relu (a) f = Flatten <axis = 2> (r) g = Gemm (f, V, b) y = Mul (g, b)'],
  ])('have labels [N, S]: %s', async (_, nodes) => {
    const found = await evaluated(model(nodes), 'cross-entropy', [rows, steps], targets);
    expect(found.loss).toBeCloseTo(crossEntropy(found.y, targets), 5);
    expect(found).toMatchObject({ labels: ['N', 'S'], axis: 0 });
    expect(found.words).toContain('int64 [N, S]: a class from 0 to 2');
  });

  it('have labels [S, N] if the model turns them, with the batch as axis 1', async () => {
    const nodes = 't = Transpose <perm = [1, 0, 2]> (a) f = Reshape (t, flat) y = MatMul (f, V)';
    const found = await evaluated(model(nodes), 'cross-entropy', [steps, rows], targets);
    expect(found.loss).toBeCloseTo(crossEntropy(found.y, targets), 5);
    expect(found).toMatchObject({ labels: ['S', 'N'], axis: 1 });
  });

  it.each(['mse', 'bce'] as const)('have labels [N, S, classes] with %s', async (loss) => {
    const labels = wave(targets.length * classes, 2).map((v) => (v + 1) / 2);
    const { loss: value, y, labels: shape } = await evaluated(model(plain), loss, [rows, steps, classes], labels);
    const each = y.map((z, i) => {
      const t = labels[i] ?? 0;
      return loss === 'mse' ? (z - t) ** 2 : Math.log1p(Math.exp(z)) - z * t;
    });
    expect(value).toBeCloseTo(each.reduce((a, b) => a + b, 0) / each.length, 5);
    expect(shape).toEqual(['N', 'S', 3]);
  });

  it('have labels [2, 3] with fixed lengths', () => {
    const { graphs } = compiled(model(plain), { loss: 'cross-entropy', batch: 2, seq: 3, emit: ['grad'] });
    expect(graphs.get('grad')?.graph.inputs.find((v) => v.name === 'labels')?.shape).toEqual([2, 3]);
  });

  it('keep labels [N] if no axis is merged', () => {
    const { graphs } = compiled(model('y = MatMul (a, V)', 'float[N,4]'), { loss: 'cross-entropy' });
    expect(graphs.get('eval')?.graph.inputs.find((v) => v.name === 'labels')?.shape).toEqual(['N']);
  });
});

it('entries of one row in an order that is not known are refused', () => {
  const refused = coded('BATCH_AXIS', 'the labels of "y" [2*N] have several entries for each of "N"');
  const text = model('c = Concat <axis = 0> (a, a) y = MatMul (c, V)', 'float[N,4]');
  expect(() => compiled(text, { loss: 'cross-entropy' })).toThrow(expect.toSatisfy(refused));
});
