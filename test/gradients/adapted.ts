/** The rules of the adapted products' own nodes, against central differences of the branches written out. */
import { createBuilder } from '../../src/graph/builder.ts';
import { Graph, type Layer, Node, Value } from '../../src/graph/model.ts';
import { inferNode } from '../../src/passes/shapes.ts';
import { checkGraph, type Mode, variables } from './harness.ts';

const layer: Layer = {
  path: 'q',
  op: 'MatMul',
  weight: 'w',
  layout: 'in_out',
  in: 4,
  out: 5,
  rank: 2,
  alpha: 3,
  scale: 1.5,
  A: 'a',
  B: 'b',
};

export interface AdaptedCase {
  readonly x: readonly number[];
  readonly transW: number;
  readonly c: readonly number[] | undefined;
}

export const adaptedCases: readonly AdaptedCase[] = [[3, 4], [2, 3, 4], [4], [0, 4], [1, 1, 2, 4]].flatMap((x) =>
  [0, 1].flatMap((transW) => [undefined, [5], [1]].map((c) => ({ x, transW, c }))),
);

export async function checkAdapted({ x, transW, c }: AdaptedCase, mode: Mode): Promise<void> {
  const graph = new Graph('adapted');
  const g = createBuilder(inferNode, graph.inputs);
  const free = variables(graph, { x, ...(c === undefined ? {} : { c }) }, mode);
  const fixed = variables(graph, { w: transW === 1 ? [5, 4] : [4, 5], a: [4, 2], b: [2, 5] });
  const [xv, cv] = free.values;
  const [w, a, b] = fixed.values;
  if (xv === undefined || w === undefined || a === undefined || b === undefined) throw new Error('no inputs');
  const branch = g.Mul(g.MatMul(g.MatMul(xv, a), b), g.like(xv, layer.scale));
  const product = g.Add(g.MatMul(xv, transW === 1 ? g.Transpose(w, { perm: [1, 0] }) : w), branch);
  const node = new Node({
    op: 'Adapted',
    domain: 'loraify',
    inputs: [xv, w, a, b, cv],
    outputs: [new Value('adapted')],
    attrs: [['transW', { kind: 'int', value: transW }]],
  });
  node.layer = layer;
  g.own(node);
  await checkGraph({
    graph,
    g,
    outputs: [cv === undefined ? product : g.Add(product, cv)],
    seeded: node.outputs,
    inputs: new Map([...free.inputs, ...fixed.inputs]),
    wrt: [xv, a, b, ...(cv === undefined ? [] : [cv])],
    opset: 18,
    type: 'float64',
    mode,
    // Linear in each input alone.
    step: 1,
    tolerance: 1e-12,
    exact: true,
  });
}

/** Two adapted products of different widths and ranks that read one value, the second with a bias. */
export async function checkJoined(transW: number, mode: Mode): Promise<void> {
  const graph = new Graph('joined');
  const g = createBuilder(inferNode, graph.inputs);
  const weight = (out: number): number[] => (transW === 1 ? [out, 4] : [4, out]);
  const free = variables(graph, { x: [2, 3, 4], c: [3] }, mode);
  const fixed = variables(graph, { w: weight(5), a: [4, 2], b: [2, 5], v: weight(3), d: [4, 1], e: [1, 3] });
  const [x, c] = free.values;
  const [w, a, b, v, d, e] = fixed.values;
  if (!(x && c && w && a && b && v && d && e)) throw new Error('no inputs');
  const product = (weight: Value, p: Value, q: Value, scale: number): Value => {
    const branch = g.Mul(g.MatMul(g.MatMul(x, p), q), g.like(x, scale));
    return g.Add(g.MatMul(x, transW === 1 ? g.Transpose(weight, { perm: [1, 0] }) : weight), branch);
  };
  const node = new Node({
    op: 'Joined',
    domain: 'loraify',
    inputs: [x, w, a, b, undefined, v, d, e, c],
    outputs: [new Value('first'), new Value('second')],
    attrs: [
      ['transW', { kind: 'int', value: transW }],
      ['scales', { kind: 'floats', value: [1.5, 0.5] }],
      ['widths', { kind: 'ints', value: [5, 3] }],
    ],
  });
  g.own(node);
  await checkGraph({
    graph,
    g,
    outputs: [product(w, a, b, 1.5), g.Add(product(v, d, e, 0.5), c)],
    seeded: node.outputs,
    inputs: new Map([...free.inputs, ...fixed.inputs]),
    wrt: [x, a, b, d, e],
    opset: 18,
    type: 'float64',
    mode,
    // Linear in each input alone.
    step: 1,
    tolerance: 1e-12,
    exact: true,
  });
}
