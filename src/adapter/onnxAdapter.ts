/**
 * `.onnx_adapter`, ONNX Runtime's adapter file: a FlatBuffer whose parameters are named after the inputs of a model.
 *
 *   table Adapter { format_version: int; adapter_version: int; model_version: int; parameters: [Parameter]; }
 *   table Parameter { name: string; dims: [int64]; data_type: TensorDataType (int32); raw_data: [uint8] (force_align:
 *   8); }
 *
 * Source: onnxruntime/lora/adapter_format/adapter_schema.fbs. ONNX Runtime's own writer places raw_data at 4 modulo 8;
 * readers must not rely on alignment.
 */
import { Builder, ByteBuffer } from 'flatbuffers';
import { badAdapter } from '../errors.ts';
import { dataTypeFromNumber, dataTypeNumber } from '../graph/tensor.ts';
import { checkLength, isPortable, type PortableTensor } from './portable.ts';

const identifier = 'TORT';

/** The only version that exists. */
const formatVersion = 1;

/** Offsets are 32-bit and signed, and the builder's buffer doubles. */
const maxBytes = 2 ** 30;

/** Slots of a table's vtable. */
const slot = (index: number): number => 4 + 2 * index;

export interface OnnxAdapter {
  /** Free for the writer to choose; ONNX Runtime ignores them. */
  readonly adapterVersion: number;
  readonly modelVersion: number;
  readonly tensors: ReadonlyMap<string, PortableTensor>;
}

export const isOnnxAdapter = (bytes: Uint8Array): boolean =>
  bytes.length > 8 && [...identifier].every((c, i) => bytes[4 + i] === c.charCodeAt(0));

/**
 * The bytes of an adapter file, parameters in the given order, data 8-byte aligned. Equal tensors give equal bytes.
 * Errors: BAD_ADAPTER for a scalar (ONNX Runtime refuses rank 0), a size that does not match, or more than 1 GiB.
 */
export function encodeOnnxAdapter({ adapterVersion, modelVersion, tensors }: OnnxAdapter): Uint8Array {
  let size = 64;
  for (const [name, tensor] of tensors) {
    checkLength(name, tensor);
    if (tensor.dims.length === 0) throw badAdapter(`tensor "${name}" is a scalar, which adapter files do not support`);
    size += tensor.bytes.length + 3 * name.length + 8 * tensor.dims.length + 96;
  }
  if (size > maxBytes)
    throw badAdapter(`an adapter file is limited to ${maxBytes} bytes, and these tensors take ${size}`);
  const b = new Builder(size);
  const parameters = [...tensors].map(([name, { type, dims, bytes }]) => {
    // Counted from the end of the buffer, whose size becomes a multiple of 8: data whose end is aligned here starts
    // aligned there.
    b.prep(8, bytes.length);
    const data = b.createByteVector(bytes);
    b.startVector(8, dims.length, 8);
    for (const d of dims.toReversed()) b.addInt64(BigInt(d));
    const shape = b.endVector();
    const label = b.createString(name);
    b.startObject(4);
    b.addFieldOffset(0, label, 0);
    b.addFieldOffset(1, shape, 0);
    b.addFieldInt32(2, dataTypeNumber(type), 0);
    b.addFieldOffset(3, data, 0);
    return b.endObject();
  });
  b.startVector(4, parameters.length, 4);
  for (const p of parameters.toReversed()) b.addOffset(p);
  const list = b.endVector();
  b.startObject(4);
  b.addFieldInt32(0, formatVersion, 0);
  b.addFieldInt32(1, adapterVersion, 0);
  b.addFieldInt32(2, modelVersion, 0);
  b.addFieldOffset(3, list, 0);
  b.finish(b.endObject(), identifier);
  return b.asUint8Array();
}

/**
 * Reads an adapter file; the tensors' bytes are views of `bytes`. Every offset is checked before it is followed.
 * Errors: BAD_ADAPTER (another format or version, an offset outside the file, an inconsistent tensor).
 */
export function parseOnnxAdapter(bytes: Uint8Array, file?: string): OnnxAdapter {
  if (!isOnnxAdapter(bytes)) throw badAdapter('it is not an .onnx_adapter file: its identifier is not TORT', file);
  const { table, int, vector, text } = reader(bytes, (reason) =>
    badAdapter(`the adapter file is broken: ${reason}`, file),
  );
  const root = table(0);
  const version = int(root, 0);
  if (version !== formatVersion)
    throw badAdapter(`its format version is ${version}; only version ${formatVersion} is supported`, file);
  const tensors = new Map<string, PortableTensor>();
  const list = vector(root, 3, 4);
  for (let i = 0; i < list.length; i++) {
    const parameter = table(list.at + 4 * i);
    const name = text(parameter, 0);
    if (name === '') throw badAdapter(`parameter ${i} has no name`, file);
    if (tensors.has(name)) throw badAdapter(`two parameters are named "${name}"`, file);
    const shape = vector(parameter, 1, 8);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const dims = Array.from({ length: shape.length }, (_, d) => Number(view.getBigInt64(shape.at + 8 * d, true)));
    const number = int(parameter, 2);
    const type = dataTypeFromNumber(number);
    if (!isPortable(type)) throw badAdapter(`tensor "${name}" has the type ${type ?? number}`, file);
    const data = vector(parameter, 3, 1);
    const tensor = { type, dims, bytes: bytes.subarray(data.at, data.at + data.length) };
    checkLength(name, tensor, file);
    tensors.set(name, tensor);
  }
  return { adapterVersion: int(root, 1), modelVersion: int(root, 2), tensors };
}

interface Table {
  readonly at: number;
  /** The absolute offset of a field's value; 0 if the table lacks it. */
  field(index: number): number;
}

interface Vector {
  /** The offset of the first element. */
  readonly at: number;
  readonly length: number;
}

/** The parts of a FlatBuffer (flatbuffers.dev/internals), each checked to be inside the file. */
function reader(bytes: Uint8Array, broken: (reason: string) => Error) {
  const buffer = new ByteBuffer(bytes);
  const within = (at: number, length: number, what: string): number => {
    if (at < 0 || at + length > bytes.length) throw broken(`${what} is at byte ${at} of ${bytes.length}`);
    return at;
  };
  const target = (at: number, what: string): number => {
    const offset = buffer.readUint32(within(at, 4, 'an offset'));
    return within(at + offset, 4, what);
  };
  const table = (reference: number): Table => {
    const at = target(reference, 'a table');
    const start = within(at - buffer.readInt32(at), 4, 'a vtable');
    const size = buffer.readUint16(start);
    within(start, size, 'a vtable');
    return {
      at,
      field(index) {
        const offset = slot(index) + 2 > size ? 0 : buffer.readUint16(start + slot(index));
        return offset === 0 ? 0 : within(at + offset, 4, 'a field');
      },
    };
  };
  const int = (t: Table, index: number): number => {
    const at = t.field(index);
    return at === 0 ? 0 : buffer.readInt32(at);
  };
  const vector = (t: Table, index: number, elementBytes: number): Vector => {
    const reference = t.field(index);
    if (reference === 0) return { at: 0, length: 0 };
    const at = target(reference, 'a list');
    const length = buffer.readUint32(at);
    return { at: within(at + 4, length * elementBytes, 'the end of a list'), length };
  };
  const text = (t: Table, index: number): string => {
    const { at, length } = vector(t, index, 1);
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(at, at + length));
    } catch {
      throw broken('a name is not UTF-8');
    }
  };
  return { table, int, vector, text };
}
