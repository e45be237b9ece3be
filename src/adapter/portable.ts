/** Adapters as tensors by the names of a model's inputs, the form of files for other programs. Runs in browsers too. */
import { badAdapter } from '../errors.ts';
import { type RawDtype, type RawTensor, toFloat32 } from '../formats/rawTensor.ts';
import { parseSafetensors } from '../formats/safetensorsParse.ts';
import { type DataType, rawByteLength } from '../graph/tensor.ts';
import { configName, peftPrefix } from './peftTensors.ts';

/** Element types that an adapter may have, in the names of ONNX Runtime's JavaScript API and of safetensors. */
const types = {
  float32: 'F32',
  float16: 'F16',
  bfloat16: 'BF16',
  float64: 'F64',
  int8: 'I8',
  uint8: 'U8',
  int16: 'I16',
  uint16: 'U16',
  int32: 'I32',
  uint32: 'U32',
  int64: 'I64',
  uint64: 'U64',
} as const satisfies Partial<Record<DataType, RawDtype>>;

export type PortableType = keyof typeof types;

const names = Object.keys(types).filter((name): name is PortableType => name in types);

export const isPortable = (type: DataType | undefined): type is PortableType => type !== undefined && type in types;

export const safetensorsType = (type: PortableType): RawDtype => types[type];
const portableType = (dtype: RawDtype): PortableType | undefined => names.find((n) => types[n] === dtype);

/** A tensor with its bytes in file order: little-endian, row-major, not necessarily aligned. */
export interface PortableTensor {
  readonly type: PortableType;
  readonly dims: readonly number[];
  readonly bytes: Uint8Array;
}

/** Throws BAD_ADAPTER if the byte count does not match the type and the dims. */
export function checkLength(name: string, { type, dims, bytes }: PortableTensor, file?: string): void {
  const wanted = dims.every((d) => Number.isSafeInteger(d) && d >= 0) ? rawByteLength(type, dims, name) : -1;
  if (bytes.length !== wanted)
    throw badAdapter(`tensor "${name}" has ${bytes.length} bytes, not those of ${type} [${dims.join(', ')}]`, file);
}

/** The elements in float32. */
export const toFloats = ({ type, bytes }: PortableTensor): Float32Array =>
  toFloat32({ dtype: types[type], data: bytes });

/** The tensors of a safetensors file under their own names; bytes are views. Errors: BAD_ADAPTER, BAD_SAFETENSORS. */
export function parseNamed(bytes: Uint8Array, file?: string): ReadonlyMap<string, PortableTensor> {
  return named(parseSafetensors(bytes, file).tensors, file);
}

export function named(tensors: ReadonlyMap<string, RawTensor>, file?: string): ReadonlyMap<string, PortableTensor> {
  return new Map(
    [...tensors].map(([name, { dtype, shape, data }]) => {
      const type = portableType(dtype);
      if (type === undefined) throw badAdapter(`tensor "${name}" has the type ${dtype}`, file);
      if (name.startsWith(peftPrefix))
        throw badAdapter(
          `"${name}" is a key of PEFT, whose scale is in ${configName}: give the directory instead of the file`,
          file,
        );
      return [name, { type, dims: shape, bytes: data }];
    }),
  );
}
