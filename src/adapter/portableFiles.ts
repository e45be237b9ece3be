/**
 * Reads and writes adapter files for other programs: `.onnx_adapter` and `.safetensors` with the same tensors and
 * names.
 */
import { badAdapter } from '../errors.ts';
import { readWhole, writeFileAtomic } from '../formats/files.ts';
import type { RawTensor } from '../formats/rawTensor.ts';
import { writeSafetensors } from '../formats/safetensors.ts';
import { encodeOnnxAdapter, isOnnxAdapter, parseOnnxAdapter } from './onnxAdapter.ts';
import { type PortableTensor, parseNamed, safetensorsType } from './portable.ts';

/** Metadata that distinguishes these safetensors files from any other. */
const note = {
  format: 'loraify-adapter/1',
  names: 'inputs of the exported model: A [in, r] and B [r, out] of each layer, the scale multiplied into B',
};

export function writeOnnxAdapter(file: string, tensors: ReadonlyMap<string, PortableTensor>): void {
  writeFileAtomic(file, [encodeOnnxAdapter({ adapterVersion: 1, modelVersion: 1, tensors })]);
}

export function writeNamedSafetensors(file: string, tensors: ReadonlyMap<string, PortableTensor>): void {
  const raw = [...tensors].map(([name, { type, dims, bytes }]): [string, RawTensor] => [
    name,
    { dtype: safetensorsType(type), shape: dims, data: bytes },
  ]);
  writeSafetensors(file, raw, note);
}

/** The tensors of an adapter file by name. Errors: FILE_NOT_FOUND, BAD_ADAPTER, BAD_SAFETENSORS. */
export function readPortable(file: string): ReadonlyMap<string, PortableTensor> {
  const bytes = readWhole(file, 2 ** 31, (size) => badAdapter(`${size} bytes are too many for an adapter`, file));
  return isOnnxAdapter(bytes) ? parseOnnxAdapter(bytes, file).tensors : parseNamed(bytes, file);
}
