/** Encodes ValueType as TypeProto. A type that was read from a file and not replaced is written unchanged. */
import type { Dim, TensorType, Value, ValueType } from '../graph/model.ts';
import { dataTypeNumber } from '../graph/tensor.ts';
import { encodeMessage, type ProtoInit, toLong, typeBytesOf } from '../proto/index.ts';

export function encodeValueInfo(v: Value): ProtoInit<'ValueInfoProto'> {
  return {
    name: v.name,
    type: v.type === undefined ? undefined : encodeType(v.type, v.denotation),
    doc_string: v.docString === '' ? undefined : v.docString,
    metadata_props: [...v.metadata].map(([key, value]) => ({ key, value })),
    ...(v.unknown.length === 0 ? {} : { $unknowns: v.unknown }),
  };
}

/** TypeProto bytes. */
export const encodeType = (type: ValueType, denotation = ''): Uint8Array =>
  typeBytesOf(type) ?? encodeMessage('TypeProto', { ...typeInit(type), ...(denotation === '' ? {} : { denotation }) });

function typeInit(type: ValueType): ProtoInit<'TypeProto'> {
  switch (type.kind) {
    case 'tensor':
      return { tensor_type: tensorInit(type) };
    case 'sparse':
      return { sparse_tensor_type: tensorInit(type) };
    case 'sequence':
      return { sequence_type: elem(type.elem) };
    case 'optional':
      return { optional_type: elem(type.elem) };
    case 'map':
      return { map_type: { key_type: dataTypeNumber(type.key), ...valueInit(type.value) } };
    case 'opaque':
      return { opaque_type: { domain: type.domain, name: type.name } };
  }
}

const elem = (type: ValueType | undefined): ProtoInit<'ElemTypeProto'> =>
  type === undefined ? {} : { elem_type: typeInit(type) };

const valueInit = (type: ValueType | undefined): ProtoInit<'MapTypeProto'> =>
  type === undefined ? {} : { value_type: typeInit(type) };

function tensorInit(type: TensorType): ProtoInit<'TensorTypeProto'> {
  return {
    elem_type: type.dtype === undefined ? 0 : dataTypeNumber(type.dtype),
    shape: type.shape === undefined ? undefined : { dim: type.shape.map((d, i) => dimInit(d, type.denotations?.[i])) },
  };
}

function dimInit(dim: Dim, denotation: string | undefined): ProtoInit<'DimensionProto'> {
  const named = denotation === undefined ? {} : { denotation };
  if (dim === null) return named;
  return typeof dim === 'string' ? { dim_param: dim, ...named } : { dim_value: toLong(dim, 'dim'), ...named };
}
