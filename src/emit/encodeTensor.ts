/** Encodes Tensor as TensorProto: elements inside as raw_data, or in a data file. */
import { bytesOf, dataTypeNumber, type Tensor } from '../graph/tensor.ts';
import { type ProtoInit, toLong } from '../proto/index.ts';

/** The place of a tensor's raw_data bytes: a file beside the model, `offset` and `length` in bytes. */
export interface Placement {
  readonly location: string;
  readonly offset: number;
  readonly length: number;
}

export type Placements = ReadonlyMap<Tensor, Placement>;

const external = 1;

export function encodeTensor(t: Tensor, name: string, placement: Placement | undefined): ProtoInit<'TensorProto'> {
  const { unknown } = t.origin ?? {};
  return {
    dims: t.dims.map((d) => toLong(d, `dim of tensor "${name}"`)),
    data_type: dataTypeNumber(t.dtype),
    name: name === '' ? undefined : name,
    doc_string: t.docString,
    metadata_props: [...(t.metadata ?? [])].map(([key, value]) => ({ key, value })),
    ...elements(t, placement),
    ...(unknown === undefined || unknown.length === 0 ? {} : { $unknowns: unknown }),
  };
}

function elements(t: Tensor, placement: Placement | undefined): ProtoInit<'TensorProto'> {
  if (t.payload.kind === 'strings') return { string_data: t.payload.values };
  if (placement === undefined) return { raw_data: t.payload.kind === 'inline' ? t.payload.bytes : bytesOf(t) };
  return {
    external_data: [
      { key: 'location', value: placement.location },
      { key: 'offset', value: String(placement.offset) },
      { key: 'length', value: String(placement.length) },
    ],
    data_location: external,
  };
}
