import { describe, expect, it } from 'vitest';
import { cloneGraph, cloneMap, cloneModel, cloneNodes } from '../../src/graph/clone.ts';
import { Graph, type Model, Node, Value } from '../../src/graph/model.ts';
import { tensorOf } from '../../src/graph/tensor.ts';
import { parseText } from '../../src/parser/index.ts';
import { verify } from '../../src/passes/common/verify.ts';
import { describeModel } from '../support/describeModel.ts';

const text = `<ir_version: 10, opset_import: ["" : 18, "mine" : 1]>
main (float[2,3] x, bool c) => (float[2,3] y, float[2,3] z) <float[3] w = {1, 2, 3}>
{
  [call] a = mine.f <alpha = 0.5> (x)
  y = If (c) <then_branch = t () => (r) { r = Mul (a, w) }, else_branch = e () => (s) { s = Mul (x, w) }>
  z = Add (y, a)
}
<domain: "mine", opset_import: ["" : 18]> f <alpha: float = 0.1> (v) => (u) { u = LeakyRelu <alpha: float = @alpha> (v) }`;

function everything(model: Model): Set<object> {
  const graphs = [model.graph, ...model.functions.map((f) => f.body)].flatMap((g) => [...g.allGraphs()]);
  const nodes = graphs.flatMap((g) => g.nodes);
  const values = graphs.flatMap((g) => [...g.inputs, ...g.initializers, ...g.outputs]);
  return new Set<object>([...graphs, ...nodes, ...values, ...nodes.flatMap((n) => n.outputs)]);
}

describe('cloneModel', () => {
  it('copies everything that can change and shares tensors and layers', () => {
    const source = parseText(text);
    const before = describeModel(source);
    const marked = source.graph.nodes[0];
    if (marked !== undefined) {
      marked.layer = {
        path: 'p',
        op: 'MatMul',
        weight: 'w',
        layout: 'in_out',
        in: 3,
        out: 3,
        rank: 1,
        alpha: 1,
        scale: 1,
        A: 'a',
        B: 'b',
      };
      marked.metadata.set('k', 'v');
      marked.outputs[0]?.metadata.set('m', 'n');
    }
    const { model, map } = cloneModel(source);
    verify(model);
    verify(source);
    expect(describeModel(model)).toEqual(describeModel(source));
    const shared = everything(source);
    expect([...everything(model)].filter((o) => shared.has(o))).toEqual([]);
    expect(model.graph.initializers[0]?.tensor).toBe(source.graph.initializers[0]?.tensor);
    expect(model.graph.nodes[0]?.layer).toBe(marked?.layer);
    expect(model.graph.nodes[0]?.metadata).toEqual(new Map([['k', 'v']]));
    for (const n of source.graph.allNodes()) expect(map.nodes.get(n)?.op).toBe(n.op);
    for (const v of source.graph.inputs) expect(map.values.get(v)?.name).toBe(v.name);

    for (const n of [...model.graph.nodes]) model.graph.remove(n);
    model.opsets.set('', 1);
    for (const n of source.graph.nodes) n.layer = undefined;
    marked?.outputs[0]?.metadata.clear();
    expect(describeModel(source)).toEqual(before);
    verify(source);
  });

  it('copies what reads a sparse initializer', () => {
    const source = parseText(
      `<ir_version: 10, opset_import: ["" : 18]> main (float[2] x) => (float[2] y) <float[2] s = {0, 1}> { y = Add (x, s) }`,
    );
    const [s] = source.graph.initializers.splice(0);
    const indices = { name: '', tensor: tensorOf('int64', [1], [1]) };
    const values = { name: 's', tensor: tensorOf('float32', [1], [1]) };
    source.graph.sparseInitializers.push({ values, indices, dims: [2] });
    if (s === undefined) throw new Error('the text has changed');
    s.tensor = undefined;
    verify(source);
    const { model } = cloneModel(source);
    verify(model);
    expect(model.graph.nodes[0]?.inputs[1]).not.toBe(s);
    expect(s.uses.size).toBe(1);
  });

  it('copies graphs whose nodes are not in order', () => {
    const source = parseText(text);
    const { nodes } = source.graph;
    nodes.reverse();
    const { model } = cloneModel(source);
    model.graph.adopt();
    verify(model);
  });
});

describe('cloneGraph', () => {
  it('leaves captured values as they are, or puts others in their place', () => {
    const source = parseText(text);
    const body = source.graph.nodes[1]?.bodies[0];
    const [x] = source.graph.inputs;
    const a = source.graph.nodes[0]?.outputs[0];
    if (body === undefined || x === undefined || a === undefined) throw new Error('the text has changed');
    const same = cloneGraph(body);
    expect(same.nodes[0]?.inputs[0]).toBe(a);
    expect(same.outputs[0]).not.toBe(body.outputs[0]);
    const other = cloneGraph(body, new Map([[a, x]]));
    expect(other.nodes[0]?.inputs[0]).toBe(x);
    expect(x.uses.size).toBe(3);
  });

  it('keeps an output that is a captured value', () => {
    const body = new Graph('body');
    const outer = new Value('outer');
    outer.producer = new Node({ op: 'Neg', outputs: [outer] });
    body.outputs.push(outer);
    const map = new Map([[outer, outer]]);
    expect(cloneGraph(body, map).outputs[0]).toBe(outer);
  });
});

describe('cloneNodes', () => {
  it('writes outputs that exist already and learns the rest', () => {
    const source = parseText(text);
    const f = source.functions[0];
    const [v] = f?.body.inputs ?? [];
    const [u] = f?.body.outputs ?? [];
    if (f === undefined || v === undefined || u === undefined) throw new Error('the text has changed');
    const map = cloneMap();
    const [x, y] = [new Value('x'), new Value('y')];
    map.values.set(v, x);
    map.values.set(u, y);
    const [node] = cloneNodes(f.body.nodes, map, (attr) =>
      attr.kind === 'ref' ? { kind: 'float', value: 0.5 } : attr,
    );
    expect(node?.outputs).toEqual([y]);
    expect(y.producer).toBe(node);
    expect(node?.inputs).toEqual([x]);
    expect(x.uses.size).toBe(0);
    expect(node?.attrs.get('alpha')).toEqual({ kind: 'float', value: 0.5 });
  });
});
