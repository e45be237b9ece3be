/** The adapted product's own rule, against central differences of the branch written out. */
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
