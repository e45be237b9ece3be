/** Weights that are trained themselves (modules_to_save): what options or an adapter choose, and what an adapter has for them. */
import type { OpenedAdapter } from '../adapter/index.ts';
import { adapterMismatch, badOption, didYouMean } from '../errors.ts';
import { only } from '../formats/peftPattern.ts';
import { type RawTensor, toFloat32 } from '../formats/rawTensor.ts';
import { sizeOf, transposed } from '../graph/layers.ts';
import type { Model } from '../graph/model.ts';
import { inlineTensor, type Tensor, tensorOf } from '../graph/tensor.ts';
import { type Candidate, findParameters, type Parameter, parametersOf } from '../passes/index.ts';
import type { ResolvedOptions } from './options.ts';

/** What is trained beside the layers. */
export interface Whole {
  readonly parameters: readonly Parameter[];
  /** What modules end with, for PEFT. */
  readonly patterns: readonly string[];
  /** The content that an adapter brings, in the type of the weight. */
  readonly content: (p: Parameter) => Tensor | undefined;
}

/** Errors: BAD_OPTION for names that fit no module, ADAPTER_MISMATCH for weights of the adapter that the model does not have so. */
export function chooseWhole(
  model: Model,
  candidates: readonly Candidate[],
  { modulesToSave, adapter: file }: Pick<ResolvedOptions, 'modulesToSave' | 'adapter'>,
  adapter: OpenedAdapter | undefined,
): Whole {
  const none = { parameters: [], patterns: [], content: () => undefined };
  if (adapter !== undefined) {
    if (adapter.saved.size === 0) return none;
    const found = new Map<Parameter, Tensor>();
    const parameters = findParameters(model, candidates);
    for (const [name, tensor] of adapter.saved) {
      const mine = only(parameters, (p) => p.path, name, '.');
      if (mine === undefined || found.has(mine))
        throw adapterMismatch(
          `the model has no weight "${name}" of its own${didYouMean(
            name,
            parameters.map((p) => p.path),
          )}`,
          file,
        );
      const { dims, dtype } = mine.tensor;
      found.set(mine, typedTensor(dtype, dims, storedValues({ ...mine, parameter: name, shape: dims }, tensor, file)));
    }
    return {
      parameters: parameters.filter((p) => found.has(p)),
      patterns: adapter.modulesToSave,
      content: (p) => found.get(p),
    };
  }
  if (modulesToSave === undefined) return none;
  const parameters = findParameters(model, candidates);
  const { chosen, unmatched } = parametersOf(parameters, modulesToSave);
  const [stray] = unmatched;
  if (stray !== undefined) {
    const modules = [...new Set(parameters.map((p) => p.module))];
    throw badOption(
      `--modules-to-save: no module's name ends with "${stray}"${didYouMean(stray, modules)}`,
      'loraify inspect lists the modules; a module is found by its weights',
    );
  }
  return { parameters: chosen, patterns: modulesToSave, content: () => undefined };
}

/** Where a weight of the state stands, as the manifest and the model say it. */
interface Stored {
  readonly parameter: string;
  readonly shape: readonly number[];
  readonly turned?: boolean | undefined;
}

/** A tensor of PEFT's as the model stores it. Throws ADAPTER_MISMATCH for another shape. */
export function storedValues(
  { parameter, shape, turned = false }: Stored,
  tensor: RawTensor,
  file?: string,
): Float32Array {
  const values = toFloat32(tensor);
  const wanted = turned ? shape.toReversed() : shape;
  const same = tensor.shape.join() === wanted.join();
  // A HF Conv1D holds its weight as [in, out], and a name alone does not tell it from a Linear.
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
  return inlineTensor(dtype, dims, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
}
