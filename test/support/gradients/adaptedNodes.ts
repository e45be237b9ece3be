/** The rules of the adapted products' own nodes, against central differences of the branches written out. */
import { createBuilder } from '../../../src/graph/builder.ts';
import { Graph, type Layer, Node, Value } from '../../../src/graph/model.ts';
import { lowerDropout } from '../../../src/passes/lower/dropoutMask.ts';
import { inferNode } from '../../../src/passes/shapes/index.ts';
import { checkGraph, type Data, feedsOf, type Mode, modelOf, numbers, session, variables } from './harness.ts';

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

/** The branch reads a value of its own, whose gradient is the branch's alone; the scale makes up for what is left out. */
export async function checkDropped(transW: number, base: boolean, mode: Mode): Promise<void> {
  const graph = new Graph('dropped');
  const g = createBuilder(inferNode, graph.inputs);
  const free = variables(graph, { x: [2, 3, 4], c: base ? [5] : [2, 3, 5], d: [6, 4] }, mode);
  const fixed = variables(graph, { w: transW === 1 ? [5, 4] : [4, 5], a: [4, 2], b: [2, 5] });
  const [x, c, d] = free.values;
  const [w, a, b] = fixed.values;
  if (!(x && c && d && w && a && b)) throw new Error('no inputs');
  const branch = g.Reshape(g.Mul(g.MatMul(g.MatMul(d, a), b), g.like(d, layer.scale / 0.5)), g.ints([2, 3, 5]));
  const product = base ? g.MatMul(x, transW === 1 ? g.Transpose(w, { perm: [1, 0] }) : w) : undefined;
  const node = new Node({
    op: 'Adapted',
    domain: 'loraify',
    inputs: [x, base ? w : undefined, a, b, c, d],
    outputs: [new Value('adapted')],
    attrs: [
      ['transW', { kind: 'int', value: transW }],
      ['keep', { kind: 'float', value: 0.5 }],
    ],
  });
  node.layer = layer;
  g.own(node);
  const sum = g.Add(branch, c);
  await checkGraph({
    graph,
    g,
    outputs: [product === undefined ? sum : g.Add(sum, product)],
    seeded: node.outputs,
    inputs: new Map([...free.inputs, ...fixed.inputs]),
    wrt: [...(base ? [x] : []), c, d, a, b],
    opset: 18,
    type: 'float64',
    mode,
    // Linear in each input alone.
    step: 1,
    tolerance: 1e-12,
    exact: true,
  });
}

/** A mask over rows, over an image, over rows that are those of another value. */
export const dropoutCases = [
  { x: [6, 5], of: undefined, axis: -1, factor: 1 },
  { x: [6, 5], of: [2, 3, 5], axis: -1, factor: 1 },
  { x: [1, 5], of: [5], axis: -1, factor: 1 },
  { x: [0, 5], of: [0, 5], axis: -1, factor: 1 },
  { x: [2, 3, 4, 5], of: undefined, axis: 2, factor: 2.5 },
] as const;

export async function checkDropout(
  { x: dims, of: dimsOf, axis, factor }: (typeof dropoutCases)[number],
  mode: Mode,
): Promise<void> {
  const graph = new Graph('dropout');
  const g = createBuilder(inferNode, graph.inputs);
  const free = variables(graph, { x: [...dims] }, mode, undefined, 'float32');
  const fixed = variables(graph, { of: [...(dimsOf ?? dims)] }, mode, undefined, 'float32');
  const [x] = free.values;
  const of = dimsOf === undefined ? x : fixed.values[0];
  if (x === undefined || of === undefined) throw new Error('no inputs');
  const dropout = (name: string): Value => {
    const node = new Node({
      op: 'Dropout',
      domain: 'loraify',
      inputs: [x, g.constant('int32', [], [77]), of],
      outputs: [new Value(name)],
      attrs: [
        ['ratio', { kind: 'float', value: 0.6 }],
        ['key', { kind: 'int', value: 12345 }],
        ['axis', { kind: 'int', value: axis }],
        ['factor', { kind: 'float', value: factor }],
      ],
    });
    return g.own(node).outputs[0] ?? x;
  };
  graph.outputs.push(dropout('written'));
  graph.adopt();
  lowerDropout(graph, g);
  const outputs = graph.outputs.splice(0);
  await expectMasked(graph, outputs, new Map([...free.inputs, ...fixed.inputs]), factor);
  await checkGraph({
    graph,
    g,
    outputs,
    seeded: [dropout('whole')],
    inputs: new Map([...free.inputs, ...fixed.inputs]),
    wrt: [x],
    opset: 18,
    type: 'float32',
    mode,
    // Linear: what is left is rounding.
    step: 1,
    tolerance: 1e-5,
    exact: true,
  });
}

/** Each element is left out, or is itself times the factor. */
async function expectMasked(
  graph: Graph,
  outputs: readonly Value[],
  inputs: ReadonlyMap<Value, Data>,
  factor: number,
): Promise<void> {
  graph.outputs.push(...outputs);
  graph.adopt();
  const running = await session(modelOf(graph, 18));
  const got = await running.run(feedsOf([...inputs.keys()], [...inputs.values()]));
  await running.release();
  graph.outputs.length = 0;
  const [x] = inputs.values();
  const [t] = outputs.map((y) => got[y.name]);
  for (const [i, y] of (t === undefined ? [Number.NaN] : numbers(t)).entries())
    if (y !== 0 && Math.abs(y - factor * (x?.values[i] ?? 0)) > 1e-5)
      throw new Error(`${y} of ${x?.values[i]} at ${i}`);
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
