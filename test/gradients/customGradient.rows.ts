/** Internal nodes that carry on what several nodes of a forward make (src/passes/dialect/customGradient.ts). */

import { createBuilder } from '../../src/graph/builder.ts';
import { Graph, Node, Value } from '../../src/graph/model.ts';
import { inferNode } from '../../src/passes/shapes/index.ts';
import type { Extra } from '../support/gradients/decompositions.ts';
import { between, checkGraph, modes, variables } from '../support/gradients/harness.ts';
import type { Exceptions } from '../support/gradients/tables.ts';

/** y = h·x·(a + erf(k·x)) and h·x·(1 + tanh(k·x + c·x³)), float32 because Erf is. */
const gelu = modes.flatMap((mode) =>
  (['Gelu', 'GeluTanh'] as const).map(
    (op): Extra => ({
      is: `loraify.${op}, ${mode}`,
      ops: [`loraify.${op}`],
      run: async () => {
        const graph = new Graph('gelu');
        const g = createBuilder(inferNode, graph.inputs);
        const { values, inputs } = variables(graph, { x: [2, 5] }, mode, between(-3, 3), 'float32');
        const [x] = values;
        if (x === undefined) throw new Error('no input');
        const n = (value: number) => g.like(x, value);
        const h = n(0.7);
        const line = g.Mul(x, n(0.6));
        const v = op === 'Gelu' ? line : g.Add(line, g.Mul(g.Mul(x, g.Mul(x, x)), n(0.1)));
        const t = op === 'Gelu' ? g.Add(g.Erf(v), n(1.2)) : g.Add(g.Tanh(v), n(1));
        const y = g.Mul(g.Mul(x, t), h);
        const node = new Node({
          op,
          domain: 'loraify',
          inputs: [x, v, t, y, h],
          outputs: [new Value('gelu', y.type)],
          attrs: [['slope', { kind: 'float', value: 0.6 }]],
        });
        g.own(node);
        const check = { graph, g, outputs: [y], seeded: node.outputs, inputs, wrt: [x], mode } as const;
        await checkGraph({ ...check, opset: 18, type: 'float32', step: 2e-2, tolerance: 5e-5, exact: false });
      },
    }),
  ),
);

/** y = x·sigmoid(a·x), float32: ONNX Runtime fuses it, in types that it has no kernel for as well. */
const silu = modes.flatMap((mode) =>
  [1, 1.7].map(
    (alpha): Extra => ({
      is: `loraify.Silu, ${mode}, alpha ${alpha}`,
      ops: ['loraify.Silu'],
      run: async () => {
        const graph = new Graph('silu');
        const g = createBuilder(inferNode, graph.inputs);
        const { values, inputs } = variables(graph, { x: [2, 5] }, mode, between(-3, 3), 'float32');
        const [x] = values;
        if (x === undefined) throw new Error('no input');
        const s = g.Sigmoid(alpha === 1 ? x : g.Mul(x, g.like(x, alpha)));
        const y = g.Mul(x, s);
        const node = new Node({
          op: 'Silu',
          domain: 'loraify',
          inputs: [x, s, y],
          outputs: [new Value('silu', y.type)],
          attrs: [['alpha', { kind: 'float', value: alpha }]],
        });
        g.own(node);
        const check = { graph, g, outputs: [y], seeded: node.outputs, inputs, wrt: [x], mode } as const;
        await checkGraph({ ...check, opset: 18, type: 'float32', step: 2e-2, tolerance: 5e-5, exact: false });
      },
    }),
  ),
);

/** n = c/s with s = sqrt(mean(c²) + e), of which only the gradient by c is asked for. */
const standardized = modes.map(
  (mode): Extra => ({
    is: `loraify.Standardized, ${mode}`,
    ops: ['loraify.Standardized'],
    run: async () => {
      const graph = new Graph('standardized');
      const g = createBuilder(inferNode, graph.inputs);
      const { values, inputs } = variables(graph, { c: [2, 5] }, mode, between(-2, 2), 'float64');
      const [c] = values;
      if (c === undefined) throw new Error('no input');
      const s = g.Sqrt(g.Add(g.ReduceMean(g.Mul(c, c), g.ints([-1]), { keepdims: 1 }), g.like(c, 0.1)));
      const n = g.Div(c, s);
      const node = new Node({
        op: 'Standardized',
        domain: 'loraify',
        inputs: [c, n, s],
        outputs: [new Value('standardized', n.type)],
      });
      g.own(node);
      const check = { graph, g, outputs: [n], seeded: node.outputs, inputs, wrt: [c], mode } as const;
      await checkGraph({ ...check, opset: 18, type: 'float64', step: 1e-5, tolerance: 1e-8, exact: false });
    },
  }),
);

export const carried: readonly Extra[] = [...gelu, ...silu, ...standardized];

/** What the tests would make for every operator, and cannot for these. */
export const exceptions: Exceptions = {
  'loraify.Standardized': {
    random: 'made by the compile out of LayerNorm and RMSNorm as they are written out, which are drawn',
  },
  'loraify.Gelu': { random: 'made by the compile out of Erf between MatMuls, which are drawn' },
  'loraify.GeluTanh': { random: 'made by the compile out of Tanh between MatMuls, which are drawn' },
  'loraify.Silu': { random: 'made by the compile out of Sigmoid and Mul, which are drawn' },
};
