/** Encodes Attr as AttributeProto. */
import type { Attr, AttrValue, Graph, SparseTensor } from '../graph/model.ts';
import type { Tensor } from '../graph/tensor.ts';
import { type ProtoInit, toLong } from '../proto/index.ts';
import { encodeType } from './encodeType.ts';

/** The writers of an attribute's parts. */
export interface AttrParts {
  tensor(tensor: Tensor, name: string): ProtoInit<'TensorProto'>;
  graph(graph: Graph): ProtoInit<'GraphProto'>;
  sparse(tensor: SparseTensor): ProtoInit<'SparseTensorProto'>;
}

/** AttributeProto.AttributeType. */
const typeNumbers = {
  float: 1,
  int: 2,
  string: 3,
  tensor: 4,
  graph: 5,
  floats: 6,
  ints: 7,
  strings: 8,
  tensors: 9,
  graphs: 10,
  sparse: 11,
  sparses: 12,
  type: 13,
  types: 14,
} as const;

export function encodeAttr(name: string, attr: Attr, parts: AttrParts): ProtoInit<'AttributeProto'> {
  return {
    name,
    ...valueInit(attr, `attribute "${name}"`, parts),
    type: attr.kind === 'ref' ? attr.type : typeNumbers[attr.kind],
    doc_string: attr.docString,
    ...(attr.unknown === undefined || attr.unknown.length === 0 ? {} : { $unknowns: attr.unknown }),
  };
}

function valueInit(attr: AttrValue, what: string, parts: AttrParts): ProtoInit<'AttributeProto'> {
  switch (attr.kind) {
    case 'float':
      return { f: attr.value };
    case 'int':
      return { i: toLong(attr.value, what) };
    case 'string':
      return { s: attr.value };
    case 'tensor':
      return { t: parts.tensor(attr.value, attr.name) };
    case 'graph':
      return { g: parts.graph(attr.value) };
    case 'floats':
      return { floats: attr.value };
    case 'ints':
      return { ints: attr.value.map((i) => toLong(i, what)) };
    case 'strings':
      return { strings: attr.value };
    case 'tensors':
      return { tensors: attr.value.map((t) => parts.tensor(t.tensor, t.name)) };
    case 'graphs':
      return { graphs: attr.value.map((g) => parts.graph(g)) };
    case 'sparse':
      return { sparse_tensor: parts.sparse(attr.value) };
    case 'sparses':
      return { sparse_tensors: attr.value.map((s) => parts.sparse(s)) };
    case 'type':
      return { tp: encodeType(attr.value) };
    case 'types':
      return { type_protos: attr.value.map((t) => encodeType(t)) };
    case 'ref':
      return { ref_attr_name: attr.value };
  }
}
