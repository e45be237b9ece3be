/**
 * Copies of base weights in a PEFT directory. PEFT saves the embedding and the head beside an adapter if they are among
 * its targets, or if the vocabulary was resized. A copy of the model's weight changes nothing; another weight means
 * that the adapter belongs to another base.
 */
import type { BaseCopy } from '../adapter/index.ts';
import { adapterMismatch, didYouMean } from '../errors.ts';
import { onlyModule } from '../formats/peftPattern.ts';
import { type RawTensor, toFloat32 } from '../formats/rawTensor.ts';
import { sizeOf } from '../graph/layers.ts';
import { readRows } from '../graph/sameContent.ts';
import { type DataType, isFloat, type Tensor, tensorOf } from '../graph/tensor.ts';
import type { Parameter } from '../passes/index.ts';

/** The weights of a model, by name. */
type Known = Pick<Parameter, 'path' | 'tensor' | 'transposed' | 'refused'>;

const hint =
  'export the base model that the adapter was trained on (after resize_token_embeddings, if its vocabulary was extended), or save the adapter with save_embedding_layers=False';

/**
 * Compares copies with the model's weights, and returns notes on those that cannot be compared. Errors:
 * ADAPTER_MISMATCH with the difference.
 */
export function checkBaseCopies(
  parameters: readonly Known[],
  copies: ReadonlyMap<string, BaseCopy>,
  file: string,
): string[] {
  return [...copies].flatMap(([name, copy]): string[] => {
    const parameter = onlyModule(parameters, (p) => p.path, name);
    if (parameter === undefined) {
      if (parameters.some((p) => isFloat(p.tensor.dtype) && differenceOf(copy, p) === 0)) return [];
      const paths = parameters.map((p) => p.path);
      throw adapterMismatch(
        `the adapter has a copy of the base weight "${name}" (${text(copy.shape)}), which equals no weight of the model${didYouMean(name, paths)}`,
        file,
        hint,
      );
    }
    if (!isFloat(parameter.tensor.dtype))
      return [
        `the adapter's copy of the base weight "${name}" was not compared: the model has it as ${parameter.tensor.dtype}`,
      ];
    const difference = differenceOf(copy, parameter);
    if (difference === 0) return [];
    const { dims } = parameter.tensor;
    throw adapterMismatch(
      difference === undefined
        ? `the base weight "${name}" is ${text(copy.shape)} in the adapter, ${text(parameter.transposed ? dims.toReversed() : dims)} in the model`
        : `the adapter was trained on another base: its copy of "${name}" differs from the model's weight by up to ${difference.toPrecision(3)}`,
      file,
      hint,
    );
  });
}

const text = (shape: readonly number[]): string => `[${shape.join(', ')}]`;

/** Bytes of rows that are compared at a time. */
const blockBytes = 4 << 20;

/**
 * The largest difference of a copy, rounded to the model's type, from a weight; undefined for another shape. Blocks of
 * rows are read.
 */
function differenceOf(copy: BaseCopy, { tensor, transposed }: Known): number | undefined {
  const same = (dims: readonly number[]): boolean => dims.join() === copy.shape.join();
  const { dims } = tensor;
  // A HF Conv1D has [in, out] where a Linear has [out, in]; a square weight is compared both ways.
  const ways = [transposed, !transposed].filter((t) => same(t ? dims.toReversed() : dims));
  const found = ways.filter((t) => !t || dims.length === 2).map((t) => differenceIn(copy, tensor, t));
  return found.length === 0 ? undefined : Math.min(...found);
}

function differenceIn(copy: BaseCopy, tensor: Tensor, transposed: boolean): number {
  const [rows = 1, ...rest] = copy.shape;
  const columns = sizeOf(rest);
  const most = Math.max(1, Math.floor(blockBytes / (8 * Math.max(1, columns))));
  let largest = 0;
  copy.open((read) => {
    for (let from = 0; from < rows && largest !== Number.POSITIVE_INFINITY; from += most) {
      const count = Math.min(most, rows - from);
      const theirs = roundedTo(tensor.dtype, toFloat32(read(from * columns, count * columns)));
      const ours = blockOf(tensor, from, count, columns, transposed);
      for (const [i, x] of theirs.entries()) {
        const y = ours[i] ?? Number.NaN;
        if (Object.is(x, y) || x === y) continue;
        const difference = Math.abs(x - y);
        largest = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : Math.max(largest, difference);
      }
    }
  });
  return largest;
}

/** Rows of a weight as torch has it. */
function blockOf(tensor: Tensor, from: number, count: number, columns: number, transposed: boolean): Float32Array {
  if (!transposed) return floats(tensor.dtype, readRows(tensor, from * columns, count * columns));
  const [, width = 1] = tensor.dims;
  const out = new Float32Array(count * columns);
  for (let column = 0; column < columns; column++) {
    const line = floats(tensor.dtype, readRows(tensor, column * width + from, count));
    for (const [row, x] of line.entries()) out[row * columns + column] = x;
  }
  return out;
}

const types: Readonly<Partial<Record<DataType, RawTensor['dtype']>>> = {
  float32: 'F32',
  float64: 'F64',
  float16: 'F16',
  bfloat16: 'BF16',
};
const floats = (type: DataType, data: Uint8Array): Float32Array => toFloat32({ dtype: types[type] ?? 'F32', data });

/** Numbers as a weight of this type has them. */
function roundedTo(type: DataType, values: Float32Array): Float32Array {
  if (type !== 'float16' && type !== 'bfloat16') return values;
  const { payload } = tensorOf(type, [values.length], Array.from(values));
  return payload.kind === 'inline' ? floats(type, payload.bytes) : values;
}
