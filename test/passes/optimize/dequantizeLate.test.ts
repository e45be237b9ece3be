/** Weights are unpacked before each reader, with all that they are unpacked from. */
import { describe, expect, it } from 'vitest';
import { createBuilder } from '../../../src/graph/builder.ts';
import { Graph, type Model, tensorType, Value } from '../../../src/graph/model.ts';
import { verify } from '../../../src/passes/common/verify.ts';
import { dequantizeLate } from '../../../src/passes/optimize/dequantizeLate.ts';
import { inferNode } from '../../../src/passes/shapes/index.ts';
import { modelOf } from '../../support/gradients/harness.ts';

interface Site {
  readonly g: ReturnType<typeof createBuilder>;
  readonly x: Value;
  readonly q: Value;
}

/** The graph that computes this, after the pass. */
function late(build: (site: Site) => readonly Value[]): Model {
  const graph = new Graph('late');
  const x = new Value('x', tensorType('float32', [2, 2]));
  graph.inputs.push(x);
  const g = createBuilder(inferNode, graph.inputs);
  graph.outputs.push(...build({ g, x, q: g.constant('int8', [2, 2], [1, 2, 3, 4]) }));
  graph.adopt();
  dequantizeLate(graph);
  const model = modelOf(graph, 21);
  verify(model);
  return model;
}

const count = (model: Model, op: string): number => model.graph.nodes.filter((n) => n.op === op).length;

describe('unpacking', () => {
  it('is done once for each reader', () => {
    const model = late(({ g, x, q }) => {
      const w = g.DequantizeLinear(q, g.float(0.5));
      return [g.MatMul(x, w), g.Gemm(x, w, undefined, { transB: 1 })];
    });
    expect(count(model, 'DequantizeLinear')).toBe(2);
  });

  it('takes a computed scale along, once', () => {
    const model = late(({ g, x, q }) => {
      const h = g.Tanh(x);
      const w = g.DequantizeLinear(q, g.Exp(g.float(0.5)));
      return [g.MatMul(h, w), g.Gemm(x, w, undefined, { transB: 1 })];
    });
    expect([count(model, 'DequantizeLinear'), count(model, 'Exp')]).toEqual([2, 1]);
  });

  it('ends at a product, also of a constant', () => {
    // A gradient that depends on no input, as that of a sum of layers.
    const model = late(({ g, x, q }) => {
      const w = g.DequantizeLinear(q, g.float(0.5));
      const dy = g.Expand(g.float(1), g.ints([2, 2]));
      const dx = g.Gemm(dy, w, undefined, { transB: 1 });
      return [g.MatMul(g.Tanh(x), w), g.Neg(dx), g.Mul(dx, x)];
    });
    expect([count(model, 'DequantizeLinear'), count(model, 'Gemm')]).toEqual([2, 1]);
  });
});
