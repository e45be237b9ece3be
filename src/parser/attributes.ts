/** Converts AttributeProto to Attr. */
import { badModel } from '../errors.ts';
import type { Attr, AttrValue, Graph, SparseTensor, ValueType } from '../graph/model.ts';
import type { Tensor } from '../graph/tensor.ts';
import { decodeMessage, fromLong, has, type Place, type Proto, rememberTypeBytes } from '../proto/index.ts';

import { copies, dimsOf } from './tensors.ts';
import { valueType } from './types.ts';

/** The readers of an attribute's parts; graphs see the scope of the node they belong to. */
export interface AttributeContext {
  tensor(proto: Proto<'TensorProto'>, label: string, place: Place): Tensor;
  graph(proto: Proto<'GraphProto'>, place: Place): Graph;
}

/** AttributeProto.AttributeType, by number. */
const kinds = [
  undefined,
  'float',
  'int',
  'string',
  'tensor',
  'graph',
  'floats',
  'ints',
  'strings',
  'tensors',
  'graphs',
  'sparse',
  'sparses',
  'type',
  'types',
] as const;

/** Converts one attribute. `what` is for messages. Errors: BAD_MODEL, BAD_TENSOR. */
export function attribute(proto: Proto<'AttributeProto'>, what: string, place: Place, context: AttributeContext): Attr {
  const value = attributeValue(proto, `attribute "${proto.name}" of ${what}`, place, context);
  return {
    ...value,
    ...(proto.doc_string === '' ? {} : { docString: proto.doc_string }),
    ...(proto.$unknowns === undefined ? {} : { unknown: copies(proto.$unknowns) }),
  };
}

function attributeValue(
  proto: Proto<'AttributeProto'>,
  what: string,
  place: Place,
  { tensor, graph }: AttributeContext,
): AttrValue {
  if (proto.ref_attr_name !== '') return { kind: 'ref', value: proto.ref_attr_name, type: proto.type };
  const must = <T>(part: T | null): T => {
    if (part === null) throw badModel(`${what} has no value`);
    return part;
  };
  const kind = kinds[proto.type] ?? guess(proto);
  if (proto.type < 0 || proto.type >= kinds.length || kind === undefined)
    throw badModel(`${what} has ${proto.type === 0 ? 'no type' : `the unknown type ${proto.type}`}`);
  switch (kind) {
    case 'float':
      return { kind, value: proto.f };
    case 'int':
      return { kind, value: fromLong(proto.i) };
    case 'string':
      return { kind, value: proto.s.slice() };
    case 'tensor': {
      const t = must(proto.t);
      return { kind, value: tensor(t, what, [...place, 5, 0]), name: t.name };
    }
    case 'graph':
      return { kind, value: graph(must(proto.g), [...place, 6, 0]) };
    case 'floats':
      return { kind, value: [...proto.floats] };
    case 'ints':
      return { kind, value: proto.ints.map(fromLong) };
    case 'strings':
      return { kind, value: copies(proto.strings) };
    case 'tensors':
      return {
        kind,
        value: proto.tensors.map((t, i) => ({ tensor: tensor(t, what, [...place, 10, i]), name: t.name })),
      };
    case 'graphs':
      return { kind, value: proto.graphs.map((g, i) => graph(g, [...place, 11, i])) };
    case 'sparse':
      return { kind, value: sparse(must(proto.sparse_tensor), what, [...place, 22, 0], tensor) };
    case 'sparses':
      return { kind, value: proto.sparse_tensors.map((s, i) => sparse(s, what, [...place, 23, i], tensor)) };
    case 'type':
      return { kind, value: must(typeFromBytes(proto.tp, what).type ?? null) };
    case 'types':
      return { kind, value: proto.type_protos.map((b) => must(typeFromBytes(b, what).type ?? null)) };
  }
}

/** Early files have no `type`: the field that is present decides. */
function guess(proto: Proto<'AttributeProto'>): (typeof kinds)[number] {
  if (proto.type !== 0) return undefined;
  if (has(proto, 'f')) return 'float';
  if (has(proto, 'i')) return 'int';
  if (has(proto, 's')) return 'string';
  if (proto.t !== null) return 'tensor';
  if (proto.g !== null) return 'graph';
  if (proto.floats.length > 0) return 'floats';
  if (proto.ints.length > 0) return 'ints';
  return proto.strings.length > 0 ? 'strings' : undefined;
}

/** Converts a sparse tensor. Errors: BAD_MODEL, BAD_TENSOR. */
export function sparse(
  proto: Proto<'SparseTensorProto'>,
  what: string,
  place: Place,
  tensor: AttributeContext['tensor'],
): SparseTensor {
  const { values, indices } = proto;
  if (values === null || indices === null) throw badModel(`${what}: a sparse tensor has no values or no indices`);
  const count = values.dims.length === 1 ? values.dims[0] : undefined;
  const rows = indices.dims[0];
  if (count === undefined || rows === undefined || !count.equals(rows))
    throw badModel(`${what}: a sparse tensor does not have one index for each value`);
  return {
    values: { name: values.name, tensor: tensor(values, what, [...place, 1, 0]) },
    indices: { name: indices.name, tensor: tensor(indices, what, [...place, 2, 0]) },
    dims: dimsOf(proto.dims, values.name),
  };
}

/**
 * Decodes a type from TypeProto bytes and remembers the bytes. Errors: BAD_MODEL; protobufjs's own for malformed bytes.
 */
export function typeFromBytes(bytes: Uint8Array, what: string): { type: ValueType | undefined; denotation: string } {
  const proto = decodeMessage('TypeProto', bytes);
  const type = valueType(proto, what);
  if (type !== undefined) rememberTypeBytes(type, bytes.slice());
  return { type, denotation: proto.denotation };
}
