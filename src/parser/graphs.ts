/** Converts GraphProto and the body of a FunctionProto to Graph. */
import { badModel } from '../errors.ts';
import { type Attr, Graph, Node, producersOf, tensorType, Value } from '../graph/model.ts';
import type { Tensor } from '../graph/tensor.ts';
import type { Place, Proto } from '../proto/index.ts';
import { attribute, sparse, typeFromBytes } from './attributes.ts';

import { copies, stringMap } from './tensors.ts';

export interface DecodeContext {
  tensor(proto: Proto<'TensorProto'>, label: string, place: Place): Tensor;
  /** Records the place of each node, so that it can be found again on the wire. */
  placed(node: Node, place: Place): void;
}

/** Names visible in a graph: its own, then those of the enclosing graphs. */
interface Scope {
  readonly own: Map<string, Value>;
  readonly outer: Scope | undefined;
}

function resolve(scope: Scope, name: string): Value | undefined {
  for (let s: Scope | undefined = scope; s !== undefined; s = s.outer) {
    const v = s.own.get(name);
    if (v !== undefined) return v;
  }
  return undefined;
}

/** Converts a graph. Errors: BAD_MODEL, BAD_TENSOR, EXTERNAL_DATA_*. */
export function decodeGraph(
  proto: Proto<'GraphProto'>,
  outer: Scope | undefined,
  place: Place,
  context: DecodeContext,
): Graph {
  const graph = new Graph(proto.name);
  const what = `graph "${proto.name}"`;
  const scope: Scope = { own: new Map(), outer };
  graph.docString = proto.doc_string;
  setAll(graph.metadata, proto.metadata_props);
  graph.unknown = copies(proto.$unknowns ?? []);

  for (const info of proto.input) {
    const v = define(scope, info.name, `an input of ${what}`);
    describe(v, info);
    graph.inputs.push(v);
  }
  const inputs = new Set(graph.inputs);
  proto.initializer.forEach((t, i) => {
    const tensor = context.tensor(t, `initializer ${i} of ${what}`, [...place, 5, i]);
    // Several initializers of one name: ONNX Runtime takes the last.
    const v = scope.own.get(t.name) ?? define(scope, t.name, `an initializer of ${what}`);
    if (!inputs.has(v) || v.type === undefined) v.type = tensorType(tensor.dtype, tensor.dims);
    else if (v.dtype !== undefined && v.dtype !== tensor.dtype)
      throw badModel(`input "${t.name}" is declared as ${v.dtype}, its initializer is ${tensor.dtype}`);
    if (v.tensor === undefined) graph.initializers.push(v);
    v.tensor = tensor;
  });
  proto.sparse_initializer.forEach((s, i) => {
    const made = sparse(s, `sparse initializer ${i} of ${what}`, [...place, 15, i], context.tensor);
    graph.sparseInitializers.push(made);
    define(scope, made.values.name, `a sparse initializer of ${what}`).type = tensorType(
      made.values.tensor.dtype,
      made.dims,
    );
  });
  fill(graph, scope, what, proto.node, [...place, 1], context);
  declare(graph, scope, proto.value_info);
  for (const info of proto.output) {
    const v = resolve(scope, info.name);
    if (v === undefined) throw badModel(`output "${info.name}" of ${what} is not defined`);
    // An input or an outer value that is also an output keeps its original type.
    describe(v, info, !inputs.has(v) && scope.own.has(info.name));
    graph.outputs.push(v);
  }
  for (const q of proto.quantization_annotation)
    graph.quantization.push({ tensor: q.tensor_name, parameters: stringMap(q.quant_parameter_tensor_names) });
  sort(graph);
  return graph;
}

/** Converts a function's body, which sees only its own inputs. Errors: as decodeGraph. */
export function decodeBody(proto: Proto<'FunctionProto'>, what: string, place: Place, context: DecodeContext): Graph {
  const graph = new Graph(proto.name);
  const scope: Scope = { own: new Map(), outer: undefined };
  for (const name of proto.input) graph.inputs.push(define(scope, name, `an input of ${what}`));
  fill(graph, scope, what, proto.node, [...place, 7], context);
  declare(graph, scope, proto.value_info);
  for (const name of proto.output) {
    const v = resolve(scope, name);
    if (v === undefined) throw badModel(`output "${name}" of ${what} is not defined`);
    graph.outputs.push(v);
  }
  sort(graph);
  return graph;
}

function define(scope: Scope, name: string, what: string): Value {
  if (name === '') throw badModel(`${what} has no name`);
  if (scope.own.has(name)) throw badModel(`"${name}" is defined twice, the second time as ${what}`);
  const v = new Value(name);
  scope.own.set(name, v);
  return v;
}

/** Adds nodes in file order: first all their outputs, so that a node may precede its inputs. */
function fill(
  graph: Graph,
  scope: Scope,
  what: string,
  protos: readonly Proto<'NodeProto'>[],
  place: Place,
  context: DecodeContext,
): void {
  const outputs = protos.map((p, i) =>
    p.output.map((name) =>
      name === '' ? new Value('') : define(scope, name, `an output of node "${p.name || p.op_type || i}" of ${what}`),
    ),
  );
  protos.forEach((p, i) => {
    const label = p.name || p.output[0] || p.op_type;
    if (p.op_type === '') throw badModel(`node "${label}" has no operator`, { node: label });
    const inputs = p.input.map((name) => {
      if (name === '') return undefined;
      const v = resolve(scope, name);
      if (v === undefined)
        throw badModel(`node "${label}" (${p.op_type}) reads "${name}", which is not defined`, { node: label });
      return v;
    });
    const attrs = new Map<string, Attr>();
    p.attribute.forEach((a, k) => {
      if (attrs.has(a.name)) throw badModel(`node "${label}" has the attribute "${a.name}" twice`, { node: label });
      attrs.set(
        a.name,
        attribute(a, `node "${label}"`, [...place, i, 5, k], {
          tensor: context.tensor,
          graph: (g, at) => decodeGraph(g, scope, at, context),
        }),
      );
    });
    const node = new Node({
      op: p.op_type,
      domain: p.domain === 'ai.onnx' ? '' : p.domain,
      overload: p.overload,
      name: p.name,
      inputs,
      outputs: outputs[i] ?? [],
      attrs,
    });
    node.docString = p.doc_string;
    setAll(node.metadata, p.metadata_props);
    node.unknown = copies(p.$unknowns ?? []);
    context.placed(node, [...place, i]);
    graph.append(node);
  });
}

/** Applies value_info: types of values inside the graph, and entries whose name is not defined here. */
function declare(graph: Graph, scope: Scope, infos: readonly Proto<'ValueInfoProto'>[]): void {
  for (const info of infos) {
    const found = scope.own.get(info.name);
    const v = found ?? new Value(info.name);
    describe(v, info);
    if (found === undefined) graph.strayInfo.push(v);
    else v.declared = true;
  }
}

function describe(v: Value, info: Proto<'ValueInfoProto'>, retype = true): void {
  const { type, denotation } = typeFromBytes(info.type, `value "${info.name}"`);
  if (type !== undefined && (retype || v.type === undefined)) v.type = type;
  if (denotation !== '') v.denotation = denotation;
  if (info.doc_string !== '') v.docString = info.doc_string;
  setAll(v.metadata, info.metadata_props);
  if (info.$unknowns !== undefined) v.unknown = copies(info.$unknowns);
}

function setAll(into: Map<string, string>, entries: readonly Proto<'StringStringEntryProto'>[]): void {
  for (const e of entries) into.set(e.key, e.value);
}

/**
 * Sorts the nodes into a stable topological order if the file has another one (ONNX requires a sorted list, loaders
 * accept any). Errors: BAD_MODEL for a cycle.
 */
export function sort(graph: Graph): void {
  const place = new Map(graph.nodes.map((n, i) => [n, i]));
  const needs = graph.nodes.map((n) => producersOf(n).filter((p) => place.has(p)));
  if (needs.every((list, i) => list.every((p) => (place.get(p) ?? i) < i))) return;
  const order: Node[] = [];
  const state = new Map<Node, 'open' | 'done'>();
  for (const root of graph.nodes) {
    if (state.has(root)) continue;
    const stack: { readonly node: Node; next: number }[] = [];
    const open = (node: Node): void => {
      state.set(node, 'open');
      stack.push({ node, next: 0 });
    };
    open(root);
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const need = needs[place.get(top.node) ?? -1]?.[top.next++];
      if (need === undefined) {
        state.set(top.node, 'done');
        order.push(top.node);
        stack.pop();
      } else if (!state.has(need)) open(need);
      else if (state.get(need) === 'open')
        throw badModel(`the graph has a cycle through node "${need.label}"`, { node: need.label });
    }
  }
  graph.nodes.splice(0, graph.nodes.length, ...order);
}
