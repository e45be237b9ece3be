/** Converts tensors of modules_to_save between PEFT's layout and the model's. */
import { adapterMismatch } from '../errors.ts';
import { type RawTensor, toFloat32 } from '../formats/rawTensor.ts';
import { sizeOf, transposed } from '../graph/layers.ts';
import { floatTensor, type Tensor, tensorOf } from '../graph/tensor.ts';

/** A weight of the state, as described by the manifest and the model. */
interface Stored {
  readonly parameter: string;
  readonly shape: readonly number[];
  readonly turned?: boolean | undefined;
}

/** A tensor of PEFT in the model's layout. Throws ADAPTER_MISMATCH for another shape. */
export function storedValues(
  { parameter, shape, turned = false }: Stored,
  tensor: RawTensor,
  file?: string,
): Float32Array {
  const values = toFloat32(tensor);
  const wanted = turned ? shape.toReversed() : shape;
  const same = tensor.shape.join() === wanted.join();
  // A HF Conv1D stores its weight as [in, out], and a name alone does not distinguish it from a Linear.
  const back = !same && shape.length === 2 && tensor.shape.join() === wanted.toReversed().join();
  if (!same && !back)
    throw adapterMismatch(
      `"${parameter}" is [${wanted.join(', ')}] in the model, [${tensor.shape.join(', ')}] in the adapter`,
      file,
    );
  return turned !== back ? transposed(values, tensor.shape[0] ?? 1, tensor.shape[1] ?? 1) : values;
}

/** A tensor of these values, rounded to its type. */
export function typedTensor(dtype: Tensor['dtype'], dims: readonly number[], values: Float32Array): Tensor {
  if (values.length !== sizeOf(dims)) throw new Error(`${values.length} values for [${dims.join(', ')}]`);
  if (dtype !== 'float32') return tensorOf(dtype, dims, Array.from(values));
  return floatTensor(dims, values);
}
