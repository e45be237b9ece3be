/** Writes predictions as arrays and as JSON Lines. */

import { float32Text } from '../../formats/floatText.ts';
import { bytesOf, type RawDtype, type RawTensor } from '../../formats/rawTensor.ts';
import { halfToNumber } from '../../graph/tensor.ts';
import { type ElementType, newArray } from '../data/convert.ts';
import type { BatchTensor } from '../data/index.ts';
import type { Prediction } from './predict.ts';

const rawTypes: Readonly<Record<ElementType, RawDtype>> = {
  float32: 'F32',
  float64: 'F64',
  float16: 'F16',
  int8: 'I8',
  int16: 'I16',
  int32: 'I32',
  int64: 'I64',
  uint8: 'U8',
  uint16: 'U16',
  uint32: 'U32',
  uint64: 'U64',
  bool: 'BOOL',
};

/**
 * One array per output, rows along the first axis; rows shorter than the longest are padded with NaN, integers with 0.
 */
export function predictionArrays(prediction: Prediction): [name: string, tensor: RawTensor][] {
  return prediction.outputs.map((name) => {
    const rows = Array.from({ length: prediction.rows }, (_, i) => prediction.row(i)[name]);
    const [first] = rows;
    if (first === undefined) throw new Error(`no rows of "${name}"`);
    const dims = first.dims.map((_, axis) => Math.max(...rows.map((row) => row?.dims[axis] ?? 0)));
    const size = dims.reduce((a, b) => a * b, 1);
    const all = newArray(first.type, rows.length * size);
    if (all instanceof Float32Array || all instanceof Float64Array) all.fill(Number.NaN);
    if (first.type === 'float16' && all instanceof Uint16Array) all.fill(0x7e00);
    const bytes = bytesOf(all);
    for (const [i, row] of rows.entries()) {
      if (row !== undefined) copyInto(bytes, i * size, dims, row, all.BYTES_PER_ELEMENT);
    }
    return [name, { dtype: rawTypes[first.type], shape: [rows.length, ...dims], data: bytes }];
  });
}

/** Copies the runs along the last axis of a row to the corner of a block of `dims` at element `start`. */
function copyInto(to: Uint8Array, start: number, dims: readonly number[], row: BatchTensor, width: number): void {
  const from = bytesOf(row.data);
  const run = row.dims.at(-1) ?? 1;
  const runs = run === 0 ? 0 : row.data.length / run;
  for (let r = 0; r < runs; r++) {
    let at = 0;
    let rest = r;
    for (let axis = row.dims.length - 2, stride = dims.at(-1) ?? 1; axis >= 0; axis--) {
      const length = row.dims[axis] ?? 1;
      at += (rest % length) * stride;
      rest = Math.floor(rest / length);
      stride *= dims[axis] ?? 1;
    }
    to.set(from.subarray(r * run * width, (r + 1) * run * width), (start + at) * width);
  }
}

/**
 * One JSON object per row: output name -> nested array; numbers that JSON does not support are null.
 * @param verdict further entries of a row.
 */
export function* predictionLines(
  prediction: Prediction,
  verdict?: (index: number) => object | undefined,
): Generator<string> {
  for (let i = 0; i < prediction.rows; i++) {
    const row = prediction.row(i);
    const parts = prediction.outputs.flatMap((name) => {
      const tensor = row[name];
      return tensor === undefined ? [] : [`${JSON.stringify(name)}:${nested(tensor)}`];
    });
    for (const [name, value] of Object.entries(verdict?.(i) ?? {}))
      parts.push(`${JSON.stringify(name)}:${JSON.stringify(value)}`);
    yield `{${parts.join(',')}}`;
  }
}

function nested({ type, dims, data }: BatchTensor): string {
  const element = (i: number): string => {
    const value = data[i] ?? 0;
    if (typeof value === 'bigint') return value.toString();
    if (type === 'bool') return value === 0 ? 'false' : 'true';
    const exact = type === 'float16' ? halfToNumber(value) : value;
    if (!Number.isFinite(exact)) return 'null';
    return type === 'float32' || type === 'float16' ? float32Text(exact) : String(exact);
  };
  const print = (axis: number, start: number, size: number): string => {
    if (axis === dims.length) return element(start);
    const length = dims[axis] ?? 0;
    const inner = length === 0 ? 0 : size / length;
    return `[${Array.from({ length }, (_, i) => print(axis + 1, start + i * inner, inner)).join(',')}]`;
  };
  return print(0, 0, data.length);
}
