/** A model as plain data, for comparing two models: every value is named by the place where it is defined. */
import type { Attr, Graph, Model, Node, Value } from '../../src/graph/model.ts';
import { bytesOf, type Tensor } from '../../src/graph/tensor.ts';

export function describeModel(m: Model): unknown {
  return {
    irVersion: m.irVersion,
    opsets: [...m.opsets],
    texts: [m.producerName, m.producerVersion, m.domain, m.docString],
    modelVersion: BigInt(m.modelVersion),
    metadata: [...m.metadata],
    graph: describeGraph(m.graph, 'main', new Map()),
    functions: m.functions.map((f) => ({
      domain: f.domain,
      name: f.name,
      overload: f.overload,
      attributes: f.attributes,
      defaults: [...f.defaults].map(([name, a]) => [name, describeAttr(a, name, new Map())]),
      opsets: [...f.opsets],
      docString: f.docString,
      body: describeGraph(f.body, f.name, new Map()),
    })),
  };
}

function describeGraph(g: Graph, path: string, ids: Map<Value, string>): unknown {
  for (const v of [...g.inputs, ...g.initializers, ...g.nodes.flatMap((n) => n.outputs)])
    ids.set(v, `${path}/${v.name}`);
  const id = (v: Value | undefined): string => (v === undefined ? '' : (ids.get(v) ?? `undefined value ${v.name}`));
  const full = (v: Value): unknown => ({
    id: id(v),
    type: v.type,
    tensor: v.tensor && describeTensor(v.tensor),
    declared: v.declared,
  });
  const node = (n: Node, i: number): unknown => ({
    op: n.op,
    domain: n.domain,
    overload: n.overload,
    name: n.name,
    inputs: n.inputs.map(id),
    outputs: n.outputs.map(full),
    attrs: [...n.attrs]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, a]) => [name, describeAttr(a, `${path}/${i}.${name}`, ids)]),
  });
  return {
    name: g.name,
    inputs: g.inputs.map(full),
    outputs: g.outputs.map((v) => ({ id: id(v), type: v.type })),
    initializers: g.initializers.map(full),
    stray: g.strayInfo.map((v) => [v.name, v.type]),
    nodes: g.nodes.map(node),
  };
}

function describeAttr(a: Attr, path: string, ids: Map<Value, string>): unknown {
  switch (a.kind) {
    case 'graph':
      return describeGraph(a.value, path, ids);
    case 'tensor':
      return { tensor: describeTensor(a.value), name: a.name };
    default:
      return { kind: a.kind, value: a.value };
  }
}

export function describeTensor(t: Tensor): unknown {
  const content =
    t.payload.kind === 'strings' ? t.payload.values.map((s) => [...s]) : Buffer.from(bytesOf(t)).toString('hex');
  return { dtype: t.dtype, dims: [...t.dims], content };
}
