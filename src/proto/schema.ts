/**
 * The messages of ONNX IR 13 for protobufjs, and their TypeScript types, from one table.
 *
 * Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (proto2: absent and empty differ, repeated numbers
 * unpacked). Left out on purpose, so that they are kept and written back as unknown wire bytes:
 * ModelProto.training_info and configuration, NodeProto.device_configurations, TensorProto.segment. Left out because
 * the parser cuts them out before protobufjs decodes: TensorProto's float_data, int32_data, int64_data, double_data and
 * uint64_data.
 */
import type Long from 'long';
import protobuf from 'protobufjs/light.js';

/**
 * The field of a reduced TensorProto that replaces the payload fields cut out of it; its value counts TensorProtos in
 * wire order. Numbers 19000 to 19999 cannot occur in a .proto file
 * (https://protobuf.dev/programming-guides/proto3/#assigning).
 */
export const cutField = 19001;

const messages = {
  ModelProto: {
    ir_version: [1, 'int64'],
    producer_name: [2, 'string'],
    producer_version: [3, 'string'],
    domain: [4, 'string'],
    model_version: [5, 'int64'],
    doc_string: [6, 'string'],
    graph: [7, 'GraphProto'],
    opset_import: [8, 'OperatorSetIdProto[]'],
    metadata_props: [14, 'StringStringEntryProto[]'],
    functions: [25, 'FunctionProto[]'],
  },
  GraphProto: {
    node: [1, 'NodeProto[]'],
    name: [2, 'string'],
    initializer: [5, 'TensorProto[]'],
    doc_string: [10, 'string'],
    input: [11, 'ValueInfoProto[]'],
    output: [12, 'ValueInfoProto[]'],
    value_info: [13, 'ValueInfoProto[]'],
    quantization_annotation: [14, 'TensorAnnotation[]'],
    sparse_initializer: [15, 'SparseTensorProto[]'],
    metadata_props: [16, 'StringStringEntryProto[]'],
  },
  NodeProto: {
    input: [1, 'string[]'],
    output: [2, 'string[]'],
    name: [3, 'string'],
    op_type: [4, 'string'],
    attribute: [5, 'AttributeProto[]'],
    doc_string: [6, 'string'],
    domain: [7, 'string'],
    overload: [8, 'string'],
    metadata_props: [9, 'StringStringEntryProto[]'],
  },
  AttributeProto: {
    name: [1, 'string'],
    f: [2, 'float'],
    i: [3, 'int64'],
    s: [4, 'bytes'],
    t: [5, 'TensorProto'],
    g: [6, 'GraphProto'],
    floats: [7, 'float[]'],
    ints: [8, 'int64[]'],
    strings: [9, 'bytes[]'],
    tensors: [10, 'TensorProto[]'],
    graphs: [11, 'GraphProto[]'],
    doc_string: [13, 'string'],
    // TypeProtos stay bytes here and in ValueInfoProto: an unchanged type is written back byte for byte.
    tp: [14, 'bytes'],
    type_protos: [15, 'bytes[]'],
    type: [20, 'int32'],
    ref_attr_name: [21, 'string'],
    sparse_tensor: [22, 'SparseTensorProto'],
    sparse_tensors: [23, 'SparseTensorProto[]'],
  },
  TensorProto: {
    dims: [1, 'int64[]'],
    data_type: [2, 'int32'],
    string_data: [6, 'bytes[]'],
    name: [8, 'string'],
    raw_data: [9, 'bytes'],
    doc_string: [12, 'string'],
    external_data: [13, 'StringStringEntryProto[]'],
    data_location: [14, 'int32'],
    metadata_props: [16, 'StringStringEntryProto[]'],
    cut: [cutField, 'uint32[]'],
  },
  SparseTensorProto: { values: [1, 'TensorProto'], indices: [2, 'TensorProto'], dims: [3, 'int64[]'] },
  ValueInfoProto: {
    name: [1, 'string'],
    type: [2, 'bytes'],
    doc_string: [3, 'string'],
    metadata_props: [4, 'StringStringEntryProto[]'],
  },
  TypeProto: {
    tensor_type: [1, 'TensorTypeProto'],
    sequence_type: [4, 'ElemTypeProto'],
    map_type: [5, 'MapTypeProto'],
    denotation: [6, 'string'],
    opaque_type: [7, 'OpaqueTypeProto'],
    sparse_tensor_type: [8, 'TensorTypeProto'],
    optional_type: [9, 'ElemTypeProto'],
  },
  TensorTypeProto: { elem_type: [1, 'int32'], shape: [2, 'TensorShapeProto'] },
  ElemTypeProto: { elem_type: [1, 'TypeProto'] },
  MapTypeProto: { key_type: [1, 'int32'], value_type: [2, 'TypeProto'] },
  OpaqueTypeProto: { domain: [1, 'string'], name: [2, 'string'] },
  TensorShapeProto: { dim: [1, 'DimensionProto[]'] },
  DimensionProto: { dim_value: [1, 'int64'], dim_param: [2, 'string'], denotation: [3, 'string'] },
  FunctionProto: {
    name: [1, 'string'],
    input: [4, 'string[]'],
    output: [5, 'string[]'],
    attribute: [6, 'string[]'],
    node: [7, 'NodeProto[]'],
    doc_string: [8, 'string'],
    opset_import: [9, 'OperatorSetIdProto[]'],
    domain: [10, 'string'],
    attribute_proto: [11, 'AttributeProto[]'],
    value_info: [12, 'ValueInfoProto[]'],
    overload: [13, 'string'],
    metadata_props: [14, 'StringStringEntryProto[]'],
  },
  OperatorSetIdProto: { domain: [1, 'string'], version: [2, 'int64'] },
  StringStringEntryProto: { key: [1, 'string'], value: [2, 'string'] },
  TensorAnnotation: { tensor_name: [1, 'string'], quant_parameter_tensor_names: [2, 'StringStringEntryProto[]'] },
} as const;

export type MessageName = keyof typeof messages;

interface Scalars {
  string: string;
  bytes: Uint8Array;
  float: number;
  int32: number;
  uint32: number;
  int64: Long;
}

type ElementOf<T> = T extends keyof Scalars ? Scalars[T] : T extends MessageName ? Proto<T> : never;
type FieldOf<T> = T extends `${infer E}[]`
  ? readonly ElementOf<E>[]
  : T extends MessageName
    ? Proto<T> | null
    : ElementOf<T>;

/** A decoded message: absent scalars read as '' or 0, absent messages as null; `has` tells absent from empty. */
export type Proto<N extends MessageName> = {
  readonly [F in keyof (typeof messages)[N]]: (typeof messages)[N][F] extends readonly [number, infer T]
    ? FieldOf<T>
    : never;
} & { readonly $unknowns?: readonly Uint8Array[] };

type InitElement<T> = T extends keyof Scalars ? Scalars[T] : T extends MessageName ? ProtoInit<T> : never;
type InitField<T> = T extends `${infer E}[]` ? readonly InitElement<E>[] : InitElement<T>;

/** The fields that a message is encoded from; undefined fields are left out, `$unknowns` is appended unchanged. */
export type ProtoInit<N extends MessageName> = {
  readonly [F in keyof (typeof messages)[N]]?:
    | ((typeof messages)[N][F] extends readonly [number, infer T] ? InitField<T> : never)
    | undefined;
} & { readonly $unknowns?: readonly Uint8Array[] };

/** proto2's features, with names checked to be UTF-8: protobufjs would replace invalid bytes. */
const dialect = {
  edition: '2023',
  options: { features: { field_presence: 'EXPLICIT', repeated_field_encoding: 'EXPANDED', utf8_validation: 'VERIFY' } },
};

const root = protobuf.Root.fromJSON({
  nested: Object.fromEntries(
    Object.entries(messages).map(([name, fields]) => [
      name,
      {
        ...dialect,
        fields: Object.fromEntries(
          Object.entries(fields).map(([field, [id, type]]) => [
            field,
            type.endsWith('[]') ? { id, type: type.slice(0, -2), rule: 'repeated' } : { id, type },
          ]),
        ),
      },
    ]),
  ),
});

const failures = new WeakSet<Error>();

/** Whether an error comes from bytes that cannot be decoded, and not from a defect of this program. */
export const isDecodeFailure = (error: unknown): error is Error => error instanceof Error && failures.has(error);

function attempt<T>(decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (error instanceof Error) failures.add(error);
    throw error;
  }
}

/**
 * Decodes one message and keeps unknown fields in `$unknowns`. Throws what protobufjs throws (see isDecodeFailure): the
 * caller has the file name for the message. `bytes` fields are views of the given array.
 */
export function decodeMessage<N extends MessageName>(name: N, bytes: Uint8Array): Proto<N> {
  const type = root.lookupType(name);
  // A plain view: given a Buffer, protobufjs would return Buffers, whose slice() shares memory.
  const reader = protobuf.Reader.create(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  reader.discardUnknown = false;
  const message = attempt(() => type.decode(reader));
  const isProto = (m: object): m is Proto<N> => m instanceof type.ctor;
  if (!isProto(message)) throw new Error(`${name} was decoded as something else`);
  return message;
}

export function encodeMessage<N extends MessageName>(name: N, message: ProtoInit<N>): Uint8Array {
  return root.lookupType(name).encode(message).finish();
}

/** Whether the field was on the wire: proto2 tells absent from empty. */
export const has = <M extends object>(message: M, field: keyof M): boolean => Object.hasOwn(message, field);
