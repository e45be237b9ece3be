/** Small tensors as lists of elements, for arithmetic at compile time. */

import { trainableMark } from '../../../graph/marks.ts';
import type { Int, Value } from '../../../graph/model.ts';
import {
  bytesOf,
  type DataType,
  elementCount,
  inlineTensor,
  isFloat,
  numbersOf,
  type Tensor,
  tensorOf,
} from '../../../graph/tensor.ts';
import { savedMark } from '../../dialect/marks.ts';

/** Elements in row-major order; int64 beyond 2^53 is bigint, so that moving it is lossless. */
export interface Small {
  readonly dtype: DataType;
  readonly dims: readonly number[];
  readonly values: readonly Int[];
}

/** The maximum number of elements of a constant. */
export interface Most {
  readonly integer: number;
  readonly float: number;
}

/** Shapes and positions have few elements; a longer list of floats is a parameter and is not folded. */
export const usual: Most = { integer: 1024, float: 64 };
/** Masks of sequences up to 512 long: they are constants if all shapes are static. */
export const ample: Most = { integer: 2 ** 18, float: 2 ** 18 };

export const fits = (dtype: DataType, count: number, most = ample): boolean =>
  count <= (isFloat(dtype) ? most.float : most.integer);

const known = new WeakMap<Tensor, Small>();
/** Tensors computed here, which are therefore not parameters. */
const made = new WeakSet<Tensor>();

/** The content of a constant, undefined if the value is not constant, too large, or trained. */
export const smallOf = (value: Value | undefined, most = usual): Small | undefined =>
  value?.tensor === undefined || value.metadata.has(savedMark) || value.tensor.metadata?.has(trainableMark) === true
    ? undefined
    : smallOfTensor(value.tensor, most);

/** Larger tensors are not read. */
export function smallOfTensor(tensor: Tensor, most = usual): Small | undefined {
  const before = known.get(tensor);
  if (before !== undefined) return before;
  const { dtype, dims } = tensor;
  const isIndex = dtype === 'int64' || dtype === 'int32' || dtype === 'bool';
  if (!fits(dtype, elementCount(dims), isIndex || made.has(tensor) ? most : usual)) return undefined;
  const values = elementsOf(tensor);
  if (values === undefined) return undefined;
  const small = { dtype: tensor.dtype, dims: tensor.dims, values };
  known.set(tensor, small);
  return small;
}

function elementsOf(tensor: Tensor): Int[] | undefined {
  if (tensor.dtype !== 'int64' && tensor.dtype !== 'uint64') return numbersOf(tensor);
  const { buffer } = bytesOf(tensor);
  const values = tensor.dtype === 'int64' ? new BigInt64Array(buffer) : new BigUint64Array(buffer);
  return [...values].map((v) => (Number.isSafeInteger(Number(v)) ? Number(v) : v));
}

/** undefined if an element is out of range for the type: such arithmetic is left to the runtime. */
export function tensorOfSmall(small: Small): Tensor | undefined {
  const tensor = storedSmall(small);
  if (tensor !== undefined) made.add(tensor);
  return tensor;
}

function storedSmall({ dtype, dims, values }: Small): Tensor | undefined {
  if (dtype === 'int64') return inlineTensor(dtype, dims, new Uint8Array(new BigInt64Array(values.map(BigInt)).buffer));
  if (dtype === 'uint64')
    return inlineTensor(dtype, dims, new Uint8Array(new BigUint64Array(values.map(BigInt)).buffer));
  const numbers = numbersIn(values);
  return numbers === undefined ? undefined : tensorOf(dtype, dims, numbers);
}

/** The elements as numbers, undefined if one is not exact. */
export function numbersIn(values: readonly Int[]): number[] | undefined {
  const numbers = values.filter((v) => typeof v === 'number');
  return numbers.length === values.length ? numbers : undefined;
}

const bounds: Partial<Record<DataType, readonly [number, number]>> = {
  int8: [-128, 127],
  uint8: [0, 255],
  int16: [-32768, 32767],
  uint16: [0, 65535],
  int32: [-(2 ** 31), 2 ** 31 - 1],
  uint32: [0, 2 ** 32 - 1],
  int64: [-Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  uint64: [0, Number.MAX_SAFE_INTEGER],
  bool: [0, 1],
};

/** A result of arithmetic rounded to the type; undefined if it would wrap, or for types that are not computed here. */
export function rounded(dtype: DataType, x: number): number | undefined {
  if (dtype === 'float32') return Math.fround(x);
  if (dtype === 'float64') return x;
  const range = bounds[dtype];
  return range !== undefined && Number.isInteger(x) && x >= range[0] && x <= range[1] ? x + 0 : undefined;
}

export const isInteger = (dtype: DataType): boolean => dtype !== 'bool' && bounds[dtype] !== undefined;

/** NumPy's broadcast of shapes, undefined if they are incompatible. */
export function broadcast(shapes: readonly (readonly number[])[]): number[] | undefined {
  const rank = Math.max(0, ...shapes.map((s) => s.length));
  const dims: number[] = [];
  for (let i = 0; i < rank; i++) {
    const here = shapes.map((s) => s[i - rank + s.length] ?? 1).filter((d) => d !== 1);
    if (here.some((d) => d !== here[0])) return undefined;
    dims.push(here[0] ?? 1);
  }
  return dims;
}

export function strides(dims: readonly number[]): number[] {
  const out: number[] = [];
  let n = 1;
  for (const d of dims.toReversed()) {
    out.unshift(n);
    n *= d;
  }
  return out;
}

/** Every position of a shape, in row-major order. */
export function* positions(dims: readonly number[]): Iterable<readonly number[]> {
  const count = elementCount(dims);
  const at = dims.map(() => 0);
  for (let n = 0; n < count; n++) {
    yield at;
    for (let i = dims.length - 1; i >= 0; i--) {
      const next = (at[i] ?? 0) + 1;
      at[i] = next === dims[i] ? 0 : next;
      if (next !== dims[i]) break;
    }
  }
}

/** The offset in an operand for a position of the broadcast result. */
export function offsetIn(dims: readonly number[], at: readonly number[]): number {
  let offset = 0;
  const skip = at.length - dims.length;
  dims.forEach((d, i) => {
    offset = offset * d + (d === 1 ? 0 : (at[i + skip] ?? 0));
  });
  return offset;
}

/** A tensor of these dims whose element at each position is the one of `x` at `from(position)`. */
export function moved(x: Small, dims: readonly number[], from: (at: readonly number[]) => number): Small | undefined {
  if (!fits(x.dtype, elementCount(dims))) return undefined;
  const values: Int[] = [];
  for (const at of positions(dims)) {
    const v = x.values[from(at)];
    if (v === undefined) return undefined;
    values.push(v);
  }
  return { dtype: x.dtype, dims, values };
}
