/** Packed numbers by a table: the few values that some bits can stand for, looked up byte by byte. */
import type { Builder } from '../../graph/builder.ts';
import { constant, type Value } from '../../graph/model.ts';
import { type DataType, dataTypeNumber, type Tensor, tensorOf } from '../../graph/tensor.ts';

/**
 * The numbers of a packed uint8 tensor, in order: [bytes · 8 / bits] of type `dtype`. `of` has one number for each
 * pattern of bits; `high` first is the order of bitsandbytes, `low` first that of ONNX.
 */
export function lookUp(
  g: Builder,
  { name, tensor }: { readonly name: string; readonly tensor: Tensor },
  { of, first, dtype }: { readonly of: readonly number[]; readonly first: 'high' | 'low'; readonly dtype: DataType },
): Value {
  const bits = Math.log2(of.length);
  const each = 8 / bits;
  const table = Array.from({ length: 256 }, (_, byte) =>
    Array.from({ length: each }, (__, i) => {
      const shift = bits * (first === 'low' ? i : each - 1 - i);
      return of[(byte >> shift) & (of.length - 1)] ?? 0;
    }),
  );
  const bytes = constant(`${name}.bytes`, { ...tensor, dims: [tensor.byteLength] });
  const rows = g.tensor(`bits.${dtype}.${first}.${of.join()}`, tensorOf(dtype, [256, each], table.flat()));
  return g.Gather(rows, g.Cast(bytes, { to: dataTypeNumber('int32') }));
}
