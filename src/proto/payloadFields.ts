/**
 * The fields of a TensorProto that hold elements.
 * Packing: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (TensorProto).
 */
import type { DataType } from '../graph/tensor.ts';

export const rawField = 9;

/**
 * Wire type of one unpacked element, by field: float_data, int32_data, int64_data, raw_data, double_data, uint64_data.
 */
export const elementWire: ReadonlyMap<number, number> = new Map([
  [4, 5],
  [5, 0],
  [7, 0],
  [rawField, 2],
  [10, 1],
  [11, 0],
]);

export const payloadFieldNames: Readonly<Record<number, string>> = {
  4: 'float_data',
  5: 'int32_data',
  7: 'int64_data',
  9: 'raw_data',
  10: 'double_data',
  11: 'uint64_data',
};

export interface TypedField {
  readonly field: number;
  /** Bytes of a fixed-width element on the wire; 0 for varints. */
  readonly fixed: number;
  /** Bytes of raw_data per wire element. */
  readonly bytes: number;
}

const float = { field: 4, fixed: 4, bytes: 4 };
const double = { field: 10, fixed: 8, bytes: 8 };
const int32 = (bytes: number): TypedField => ({ field: 5, fixed: 0, bytes });
const uint64 = (bytes: number): TypedField => ({ field: 11, fixed: 0, bytes });

/**
 * The typed field of each data type. Types below 8 bits come packed, one byte of raw_data per element of int32_data.
 */
const typedFields: Readonly<Record<DataType, TypedField | undefined>> = {
  float32: float,
  complex64: float,
  float64: double,
  complex128: double,
  int64: { field: 7, fixed: 0, bytes: 8 },
  uint64: uint64(8),
  uint32: uint64(4),
  int32: int32(4),
  int16: int32(2),
  uint16: int32(2),
  float16: int32(2),
  bfloat16: int32(2),
  int8: int32(1),
  uint8: int32(1),
  bool: int32(1),
  float8e4m3fn: int32(1),
  float8e4m3fnuz: int32(1),
  float8e5m2: int32(1),
  float8e5m2fnuz: int32(1),
  float8e8m0: int32(1),
  uint4: int32(1),
  int4: int32(1),
  float4e2m1: int32(1),
  uint2: int32(1),
  int2: int32(1),
  string: undefined,
};

export const typedFieldOf = (dtype: DataType): TypedField | undefined => typedFields[dtype];
