/** Encodes a Model as ModelProto bytes. Nodes keep the given order; names are the values' own. */
import { badModel } from '../errors.ts';
import type { Attr, FunctionDef, Graph, Model, Node, SparseTensor, Unknown, Value } from '../graph/model.ts';
import type { Tensor } from '../graph/tensor.ts';
import { irVersions } from '../graph/versions.ts';
import { encodeMessage, type ProtoInit, toLong } from '../proto/index.ts';
import { encodeAttr } from './encodeAttr.ts';
import { encodeTensor, type Placements } from './encodeTensor.ts';
import { encodeValueInfo } from './encodeType.ts';

/** The domain of the compiler's own operators, which must be lowered before a model is written. */
const internalDomain = 'loraify';

/**
 * The wire bytes of a model. Tensors in `placements` become external data, all others are stored inside. Fields that
 * the parser did not know are appended to their messages. The IR version is at most the one that ONNX Runtime loads.
 * Errors: BAD_MODEL for integers beyond 64 bits.
 */
export function encodeModel(model: Model, placements: Placements = new Map()): Uint8Array {
  return encodeMessage('ModelProto', {
    ir_version: toLong(Math.min(model.irVersion, irVersions.newest), 'ir_version'),
    producer_name: text(model.producerName),
    producer_version: text(model.producerVersion),
    domain: text(model.domain),
    model_version: model.modelVersion === 0 ? undefined : toLong(model.modelVersion, 'model_version'),
    doc_string: text(model.docString),
    graph: encodeGraph(model.graph, placements),
    opset_import: encodeOpsets(model.opsets),
    metadata_props: encodeMap(model.metadata),
    functions: model.functions.map((f) => encodeFunction(f, placements)),
    ...unknowns(model.unknown),
  });
}

function encodeGraph(graph: Graph, placements: Placements): ProtoInit<'GraphProto'> {
  const inputs = new Set(graph.inputs);
  return {
    node: graph.nodes.map((n) => encodeNode(n, placements)),
    name: graph.name,
    initializer: graph.initializers.map((v) => encodeInitializer(v, inputs, placements)),
    doc_string: text(graph.docString),
    input: graph.inputs.map(encodeValueInfo),
    output: graph.outputs.map(encodeValueInfo),
    value_info: declared(graph).map(encodeValueInfo),
    quantization_annotation: graph.quantization.map((q) => ({
      tensor_name: q.tensor,
      quant_parameter_tensor_names: encodeMap(q.parameters),
    })),
    sparse_initializer: graph.sparseInitializers.map((s) => encodeSparse(s, placements)),
    metadata_props: encodeMap(graph.metadata),
    ...unknowns(graph.unknown),
  };
}

/** Values with a value_info entry, in order of definition, then entries whose name is not defined here. */
function declared(graph: Graph): Value[] {
  const shown = new Set([...graph.inputs, ...graph.outputs]);
  const found: Value[] = [];
  const note = (v: Value): void => {
    if (v.declared && v.name !== '' && !shown.has(v)) found.push(v);
  };
  graph.initializers.forEach(note);
  for (const n of graph.nodes) n.outputs.forEach(note);
  return [...found, ...graph.strayInfo];
}

export function encodeInitializer(
  v: Value,
  inputs: ReadonlySet<Value>,
  placements: Placements,
): ProtoInit<'TensorProto'> {
  if (v.tensor === undefined) throw new Error(`initializer "${v.name}" has no tensor`);
  // The metadata of a value without a ValueInfo is written with its tensor.
  const alone = !inputs.has(v) && !v.declared && v.metadata.size > 0;
  const tensor = alone ? { ...v.tensor, metadata: new Map([...(v.tensor.metadata ?? []), ...v.metadata]) } : v.tensor;
  return encodeTensor(tensor, v.name, placements.get(v.tensor));
}

export function encodeNode(node: Node, placements: Placements): ProtoInit<'NodeProto'> {
  if (node.domain === internalDomain) throw new Error(`node "${node.label}" (${node.op}) was not lowered`);
  return {
    input: node.inputs.map((v) => v?.name ?? ''),
    output: node.outputs.map((v) => v.name),
    name: text(node.name),
    op_type: node.op,
    attribute: encodeAttrs(node.attrs, placements),
    doc_string: text(node.docString),
    domain: text(node.domain),
    overload: text(node.overload),
    metadata_props: encodeMap(node.metadata),
    ...unknowns(node.unknown),
  };
}

function encodeAttrs(attrs: ReadonlyMap<string, Attr>, placements: Placements): ProtoInit<'AttributeProto'>[] {
  const encoded: ProtoInit<'AttributeProto'>[] = [];
  if (attrs.size === 0) return encoded;
  const parts = within(placements);
  attrs.forEach((attr, name) => {
    encoded.push(encodeAttr(name, attr, parts));
  });
  return encoded;
}

/** The writers of an attribute's parts. */
const within = (placements: Placements) => ({
  tensor: (t: Tensor, name: string) => encodeTensor(t, name, placements.get(t)),
  graph: (g: Graph) => encodeGraph(g, placements),
  sparse: (s: SparseTensor) => encodeSparse(s, placements),
});

function encodeSparse(s: SparseTensor, placements: Placements): ProtoInit<'SparseTensorProto'> {
  return {
    values: encodeTensor(s.values.tensor, s.values.name, placements.get(s.values.tensor)),
    indices: encodeTensor(s.indices.tensor, s.indices.name, placements.get(s.indices.tensor)),
    dims: s.dims.map((d) => toLong(d, 'dim')),
  };
}

function encodeFunction(f: FunctionDef, placements: Placements): ProtoInit<'FunctionProto'> {
  if (f.body.initializers.length > 0)
    throw badModel(`function "${f.domain}.${f.name}" has initializers, which the format does not allow`);
  return {
    name: f.name,
    input: f.body.inputs.map((v) => v.name),
    output: f.body.outputs.map((v) => v.name),
    attribute: f.attributes,
    node: f.body.nodes.map((n) => encodeNode(n, placements)),
    doc_string: text(f.docString),
    opset_import: encodeOpsets(f.opsets),
    domain: text(f.domain),
    attribute_proto: encodeAttrs(f.defaults, placements),
    value_info: functionInfo(f.body).map(encodeValueInfo),
    overload: text(f.overload),
    metadata_props: encodeMap(f.metadata),
    ...unknowns(f.unknown),
  };
}

/** A function's inputs and outputs have no ValueInfo of their own: theirs are among the others. */
function functionInfo(body: Graph): Value[] {
  const own = [...body.inputs, ...body.nodes.flatMap((n) => n.outputs)];
  return [...own.filter((v) => v.declared && v.name !== ''), ...body.strayInfo];
}

const encodeOpsets = (opsets: ReadonlyMap<string, number>): ProtoInit<'OperatorSetIdProto'>[] =>
  [...opsets].map(([domain, version]) => ({ domain, version: toLong(version, 'opset version') }));

export function encodeMap(entries: ReadonlyMap<string, string>): ProtoInit<'StringStringEntryProto'>[] {
  const encoded: ProtoInit<'StringStringEntryProto'>[] = [];
  entries.forEach((value, key) => {
    encoded.push({ key, value });
  });
  return encoded;
}

/** Leaves out empty texts, as other writers do. */
export const text = (s: string): string | undefined => (s === '' ? undefined : s);

export const unknowns = (fields: Unknown | undefined): { readonly $unknowns?: Unknown } =>
  fields === undefined || fields.length === 0 ? {} : { $unknowns: fields };
