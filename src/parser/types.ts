/** Converts TypeProto to ValueType. */
import { badModel } from '../errors.ts';
import type { Dim, TensorType, ValueType } from '../graph/model.ts';
import { type DataType, dataTypeFromNumber } from '../graph/tensor.ts';
import { fromLong, has, type Proto } from '../proto/index.ts';

/**
 * The type, undefined for an empty TypeProto. Errors: BAD_MODEL for element types that do not exist. `what` is for
 * messages.
 */
export function valueType(proto: Proto<'TypeProto'>, what: string): ValueType | undefined {
  if (proto.tensor_type !== null) return tensor('tensor', proto.tensor_type, what);
  if (proto.sparse_tensor_type !== null) return tensor('sparse', proto.sparse_tensor_type, what);
  if (proto.sequence_type !== null) return { kind: 'sequence', elem: elem(proto.sequence_type.elem_type, what) };
  if (proto.optional_type !== null) return { kind: 'optional', elem: elem(proto.optional_type.elem_type, what) };
  if (proto.map_type !== null) {
    const key = elementType(proto.map_type.key_type, what);
    if (key === undefined) throw badModel(`${what} is a map without a key type`);
    return { kind: 'map', key, value: elem(proto.map_type.value_type, what) };
  }
  if (proto.opaque_type !== null)
    return { kind: 'opaque', domain: proto.opaque_type.domain, name: proto.opaque_type.name };
  return undefined;
}

const elem = (proto: Proto<'TypeProto'> | null, what: string): ValueType | undefined =>
  proto === null ? undefined : valueType(proto, what);

function tensor(kind: 'tensor' | 'sparse', proto: Proto<'TensorTypeProto'>, what: string): TensorType {
  const dims = proto.shape?.dim;
  const denotations = dims?.some((d) => d.denotation !== '')
    ? { denotations: dims.map((d) => d.denotation || undefined) }
    : {};
  return { kind, dtype: elementType(proto.elem_type, what), shape: dims?.map((d) => dim(d, what)), ...denotations };
}

function dim(proto: Proto<'DimensionProto'>, what: string): Dim {
  if (has(proto, 'dim_param')) return proto.dim_param === '' ? null : proto.dim_param;
  if (!has(proto, 'dim_value')) return null;
  const n = fromLong(proto.dim_value);
  if (typeof n === 'bigint') throw badModel(`${what} has a dim of ${n}`);
  // Exporters write -1 for an unknown dim.
  return n < 0 ? null : n;
}

function elementType(n: number, what: string): DataType | undefined {
  const t = dataTypeFromNumber(n);
  if (t === undefined && n !== 0) throw badModel(`${what} has elements of unknown type ${n}`);
  return t;
}
