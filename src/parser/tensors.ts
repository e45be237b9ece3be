/** Converts TensorProto to Tensor, with elements by reference unless there are only a few. */
import { badProtobuf, badTensor } from '../errors.ts';
import {
  type ByteSource,
  bytesOf,
  type DataType,
  dataTypeFromNumber,
  elementCount,
  inlineBytes,
  rawByteLength,
  type Tensor,
} from '../graph/tensor.ts';
import { fromLong, type PayloadStretch, type Proto } from '../proto/index.ts';
import type { ExternalData } from './external.ts';
import { elementsOf } from './payload.ts';
import type { Segment } from './skim.ts';

export interface TensorReader {
  /**
   * Converts one tensor. `label` is for messages, if the tensor has no name. Errors: BAD_TENSOR, BAD_PROTOBUF,
   * EXTERNAL_DATA_*.
   */
  read(proto: Proto<'TensorProto'>, label: string): Tensor;
  /** Payload ranges of all large tensors read so far. */
  readonly stretches: readonly PayloadStretch[];
  /** Tensors in data files, of any size. */
  readonly externalTensors: readonly Tensor[];
}

const externalLocation = 1;

export function tensorReader(
  source: ByteSource,
  payloads: readonly (readonly Segment[])[],
  external: ExternalData,
): TensorReader {
  const stretches: PayloadStretch[] = [];
  const externalTensors: Tensor[] = [];
  return {
    stretches,
    externalTensors,
    read(proto, label) {
      const name = proto.name || label;
      const dtype = typeOf(proto, name);
      const dims = dimsOf(proto.dims, name);
      const byteLength = rawByteLength(dtype, dims, name);
      const [number, ...more] = proto.cut;
      const segments = number === undefined ? undefined : payloads[number];
      if (segments === undefined || more.length > 0) throw badProtobuf(source.name, `tensor "${name}" occurs twice`);
      const entries = new Map(proto.external_data.map((e) => [e.key, e.value]));
      const common = {
        dtype,
        dims,
        byteLength,
        ...(proto.doc_string === '' ? {} : { docString: proto.doc_string }),
        ...(proto.metadata_props.length === 0 ? {} : { metadata: stringMap(proto.metadata_props) }),
      };
      const unknown = proto.$unknowns === undefined ? {} : { unknown: copies(proto.$unknowns) };

      if (proto.data_location === externalLocation) {
        if (dtype === 'string') throw badTensor(name, 'strings cannot be external data');
        if (segments.some((s) => s.end > s.from)) throw badTensor(name, 'it has elements besides its external data');
        const { source: file, ...place } = external.find(name, entries, byteLength);
        const tensor: Tensor = {
          ...common,
          payload: { kind: 'range', source: file, offset: place.offset },
          origin: { external: place, ...unknown },
        };
        externalTensors.push(tensor);
        return tensor;
      }
      if (proto.data_location !== 0) throw badTensor(name, `unknown data location ${proto.data_location}`);

      const origin = proto.$unknowns === undefined ? {} : { origin: unknown };
      const { payload, verbatim } = elementsOf(source, name, dtype, byteLength, segments);
      if (dtype === 'string') {
        const count = elementCount(dims, name);
        if (proto.string_data.length !== count)
          throw badTensor(name, `it has ${proto.string_data.length} strings, but its dims require ${count}`);
        return { ...common, payload: { kind: 'strings', values: copies(proto.string_data) }, ...origin };
      }
      if (proto.string_data.length > 0) throw badTensor(name, `${dtype} elements are not allowed in string_data`);
      const tensor: Tensor = { ...common, payload, ...origin };
      if (byteLength <= inlineBytes) return { ...tensor, payload: { kind: 'inline', bytes: bytesOf(tensor) } };
      for (const v of verbatim) stretches.push({ tensor, ...v });
      return tensor;
    },
  };
}

function typeOf(proto: Proto<'TensorProto'>, name: string): DataType {
  const dtype = dataTypeFromNumber(proto.data_type);
  if (dtype === undefined) throw badTensor(name, `unknown data type ${proto.data_type}`);
  return dtype;
}

/** Errors: BAD_TENSOR for dims that are negative or beyond 2^53. */
export function dimsOf(dims: Proto<'TensorProto'>['dims'], name: string): number[] {
  return dims.map((d) => {
    const n = fromLong(d);
    if (typeof n === 'bigint' || n < 0) throw badTensor(name, `dim ${n} is not a non-negative integer`);
    return n;
  });
}

export const stringMap = (entries: readonly Proto<'StringStringEntryProto'>[]): Map<string, string> =>
  new Map(entries.map((e) => [e.key, e.value]));

/** Copies of views into the decoded bytes, which can then be freed. */
export const copies = (views: readonly Uint8Array[]): Uint8Array[] => views.map((v) => v.slice());
