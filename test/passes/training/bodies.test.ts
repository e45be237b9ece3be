/** Layers inside bodies and functions, on the way to training graphs. */
import { describe, expect, it } from 'vitest';
import { compileModel } from '../../../src/compile/compileModel.ts';
import { resolveOptions } from '../../../src/compile/options.ts';
import type { Graph, Model } from '../../../src/graph/model.ts';
import { inlineBytes } from '../../../src/graph/tensor.ts';
import { parseText } from '../../../src/parser/index.ts';
import { checkGradient } from '../../support/executeGraphs.ts';

const numbers = (count: number): string =>
  Array.from({ length: count }, (_, i) => (((i * 37) % 19) / 40 - 0.23).toFixed(3)).join(', ');

/** A state through a layer with a bias and a GELU; the weight, of 18 x 18, lies in the body. */
const cell = `<ir_version: 8, opset_import: ["" : 17]>
main (float[T,N,18] x, float[N,18] h0) => (float[N,18] h)
<float half = {0.5}, float one = {1}, float root = {1.41421356}>
{
  h = Scan <num_scan_inputs = 1, body = step (float[N,18] s, float[N,18] xt) => (float[N,18] t)
  <float[18,18] W = {${numbers(324)}}, float[18] b = {${numbers(18)}}>
  {
    [fc] p = MatMul (s, W)
    q = Add (p, b)
    d = Div (q, root)
    e = Erf (d)
    f = Add (e, one)
    m = Mul (q, f)
    n = Mul (m, half)
    t = Add (n, xt)
  }> (h0, x)
}`;

function gradOf(text: string): Model {
  const model = compileModel(parseText(text), resolveOptions({ rank: 2, emit: ['grad'] })).graphs.get('grad');
  if (model === undefined) throw new Error('no gradient graph');
  return model;
}

const bodiesOf = ({ graph }: Model): Graph[] => [...graph.allGraphs()].filter((g) => g !== graph);

describe('layers inside bodies', () => {
  it('a weight that a body holds is stored once, in the main graph, and read by the body and its gradient', () => {
    const model = gradOf(cell);
    const large = (g: Graph): string[] =>
      g.initializers.filter((v) => (v.tensor?.byteLength ?? 0) > inlineBytes).map((v) => v.name);
    expect(large(model.graph)).toEqual(['W']);
    expect(bodiesOf(model).flatMap(large)).toEqual([]);
    const readers = bodiesOf(model).filter((g) => g.nodes.some((n) => n.inputs.some((v) => v?.name === 'W')));
    expect(readers.map((g) => g.name)).toEqual(['step', 'step_grad']);
  });

  it('biases and GELU take their short forms there too', () => {
    const bodies = bodiesOf(gradOf(cell));
    const forward = bodies.find((g) => g.name === 'step')?.nodes ?? [];
    // The bias goes into the product of the base.
    expect(forward.filter((n) => n.op === 'Gemm' && n.inputs[2]?.name === 'b').length).toBe(1);
    const backward = bodies.find((g) => g.name === 'step_grad')?.nodes ?? [];
    expect(backward.some((n) => n.metadata.get('loraify.rule') === 'grad/loraify.Gelu')).toBe(true);
    expect(bodies.flatMap((g) => g.nodes).every((n) => n.domain === '')).toBe(true);
  });

  it('the gradient is that of the loss, and steps agree', () => checkGradient(cell, { rank: 2, alpha: 2 }));
});

/** Left factors, flags and lengths that only the main graph's inputs know, in a branch and in a Scan over three open axes. */
const forms = `<ir_version: 8, opset_import: ["" : 17]>
main (float[T,N,S,4] x, float[N,S,4] h0, bool c) => (float[N,S,4] y)
<float[4,4] W = {${numbers(16)}}, float[4,4] V = {${numbers(16)}}, float[4] b = {${numbers(4)}}, int64[2] flat = {-1, 4}>
{
  h = Scan <num_scan_inputs = 1, body = step (float[N,S,4] s, float[N,S,4] xt) => (float[N,S,4] t) {
    [recurrent] p = MatMul (s, W)
    q = Add (p, xt)
    t = Tanh (q)
  }> (h0, x)
  y = If (c) <then_branch = yes () => (float[N,S,4] a) {
    ht = Transpose <perm = [0, 2, 1]> (h)
    [left] vt = MatMul (V, ht)
    a = Transpose <perm = [0, 2, 1]> (vt)
  }, else_branch = no () => (float[N,S,4] d) {
    rows = Reshape (h, flat)
    [flags] g = Gemm <alpha = 0.5, beta = 2.0, transB = 1> (rows, V, b)
    shape = Shape (h)
    d = Reshape (g, shape)
  }>
}`;

describe('forms of layers inside bodies', () => {
  it('left factors and flags, lengths of the main graph', () => checkGradient(forms, { rank: 2, alpha: 2 }));
});
