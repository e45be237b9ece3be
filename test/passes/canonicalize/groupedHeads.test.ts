/** Products over repeated heads compute the same over the heads themselves, wherever a factor stands and whoever else reads them. */
import { expect, it } from 'vitest';
import { createBuilder } from '../../../src/graph/builder.ts';
import { cloneModel } from '../../../src/graph/clone.ts';
import { parseText } from '../../../src/parser/index.ts';
import { groupHeads } from '../../../src/passes/canonicalize/groupedHeads.ts';
import { verify } from '../../../src/passes/common/verify.ts';
import { normalize } from '../../../src/passes/normalize/index.ts';
import { inferNode, inferShapes } from '../../../src/passes/shapes/index.ts';
import { compute, expectSame } from '../../support/compute.ts';

const model = (outputs: string, nodes: string) => {
  const source = parseText(`<ir_version: 8, opset_import: ["" : 18]>
main (float[N,4,S,2] q, float[N,2,S,2] k) => (${outputs})
<float half = {0.5}, int64[1] two = {2}, int64[5] copies = {1, 1, 2, 1, 1}, int64[4] merged = {0, 4, -1, 2}> {
  one = Unsqueeze (k, two)
  wide = Expand (one, copies)
  all = Reshape (wide, merged)
  turned = Transpose <perm = [0, 1, 3, 2]> (all)
  raw = MatMul (q, turned)
  ${nodes}
}`);
  normalize(source);
  inferShapes(source.graph);
  return source;
};

const scores = 'float[N,4,S,S] y';
it.each([
  ['by no factor', scores, 'y = Tanh (raw)', 'MatMul Reshape Tanh'],
  ['by a factor', scores, 's = Mul (raw, half)\n y = Tanh (s)', 'MatMul Mul Reshape Tanh'],
  ['by a factor in front', scores, 's = Mul (half, raw)\n y = Tanh (s)', 'MatMul Mul Reshape Tanh'],
  ['by a divisor', scores, 's = Div (raw, half)\n y = Tanh (s)', 'MatMul Div Reshape Tanh'],
  ['in a divisor', scores, 's = Div (half, raw)\n y = Tanh (s)', 'MatMul Reshape Div Tanh'],
  ['by a factor, read twice', scores, 's = Mul (raw, half)\n y = Add (s, raw)', 'MatMul Reshape Mul Add'],
  ['by a factor, handed out', `${scores}, float[N,4,S,S] raw`, 'y = Mul (raw, half)', 'MatMul Reshape Mul'],
])('%s', async (_, outputs, nodes, ops) => {
  const source = model(outputs, nodes);
  const { model: made } = cloneModel(source);
  expect(groupHeads(made.graph, createBuilder(inferNode, made.graph.inputs))).toBe(true);
  made.graph.adopt();
  made.graph.prune();
  verify(made);
  expect(made.graph.nodes.map((n) => n.op).join(' ')).toBe(`Reshape Transpose ${ops}`);
  // The same sums over the same heads.
  const sizes = { N: 2, S: 3 };
  expectSame(await compute(made, { sizes }), await compute(source, { sizes }), 1e-6);
});

it('a factor inside a body stays there, with the constant that it is', () => {
  const model = parseText(`<ir_version: 8, opset_import: ["": 17]>
    g (float[2,4,3,2] q, float[2,2,5,2] k, float[2,4,3,5] z, bool c) => (float[2,4,3,5] y)
    <int64[1] two = {2}, int64[5] wide = {2, 2, 2, 5, 2}, int64[4] whole = {2, 4, 5, 2}> {
      u = Unsqueeze (k, two)
      e = Expand (u, wide)
      r = Reshape (e, whole)
      t = Transpose <perm = [0, 1, 3, 2]> (r)
      s = MatMul (q, t)
      y = If (c) <
        then_branch = yes () => (float[2,4,3,5] a) <float half = {0.5}> { a = Mul (s, half) },
        else_branch = no () => (float[2,4,3,5] b) { b = Neg (z) }
      >
    }`);
  inferShapes(model.graph);
  expect(groupHeads(model.graph, createBuilder(inferNode, model.graph.inputs))).toBe(true);
  model.graph.adopt();
  verify(model);
  const bodies = model.graph.nodes.flatMap((n) => n.bodies);
  expect(bodies.map((b) => b.nodes.map((n) => n.op))).toEqual([['Mul'], ['Neg']]);
});
