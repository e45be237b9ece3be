/**
 * `loraify/adapter`: adapters of a model that takes them as inputs (`loraify export --format onnx --inputs required`),
 * for onnxruntime-node and onnxruntime-web. One session serves the base model and any number of adapters, because the
 * feeds of a run select the adapter.
 *
 * Neither this module nor its imports depend on Node; the build bundles it into one file that a page can import.
 */
import { badAdapter } from '../errors.ts';
import { parseSafetensors } from '../formats/safetensorsParse.ts';
import { isOnnxAdapter, parseOnnxAdapter } from './onnxAdapter.ts';
import { parsePeftConfig } from './peftConfig.ts';
import { configName, peftLayers, peftPrefix } from './peftTensors.ts';
import { named } from './portable.ts';
import {
  type Adapter,
  type FeedOptions,
  feeds,
  type InputMetadata,
  type PlainTensor,
  type TensorClass,
  type Weighted,
} from './served.ts';

export { LoraifyError } from '../errors.ts';
export type { Adapter, FeedOptions, InputMetadata, PlainTensor, TensorClass, Weighted } from './served.ts';

/**
 * An adapter from the bytes of a file: ONNX Runtime's `.onnx_adapter`, safetensors as exported by loraify, or PEFT's
 * adapter_model.safetensors. The bytes are not copied; do not change them.
 *
 * @param config the text of adapter_config.json, which PEFT's files need: it has the scale, patterns and rsLoRA
 * @param file a name for messages Errors: BAD_ADAPTER, BAD_SAFETENSORS, ADAPTER_UNSUPPORTED, which names the feature of
 * PEFT, BAD_PATTERN.
 */
export function readAdapter(bytes: Uint8Array | ArrayBuffer, config?: string, file?: string): Adapter {
  const data = bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes);
  const from = file === undefined ? {} : { file };
  if (isOnnxAdapter(data)) return { kind: 'inputs', ...from, tensors: parseOnnxAdapter(data, file).tensors };
  const { tensors } = parseSafetensors(data, file);
  const ofPeft = [...tensors.keys()].some((key) => key.startsWith(peftPrefix));
  if (!ofPeft) return { kind: 'inputs', ...from, tensors: named(tensors, file) };
  if (config === undefined)
    throw badAdapter(`the tensors are those of PEFT, whose scale is in ${configName}: pass its text as well`, file);
  const source = {
    tensors,
    read: (key: string) => tensors.get(key),
  };
  return { kind: 'modules', ...from, layers: peftLayers(source, parsePeftConfig(config, file), file) };
}

/**
 * Combines several adapters: the exact sum of their branches, each times its strength. Ranks add up. A layer that only
 * some adapters have is combined from those.
 */
export const combineAdapters = (parts: readonly Weighted[]): Adapter => ({ kind: 'sum', parts });

/**
 * The feeds that make a session compute with an adapter, by input name; add the model's own inputs. Layers that the
 * adapter lacks get rank 0. The arrays are new. Without `Tensor` the values are plain objects, which ONNX Runtime takes
 * as well.
 *
 *     session.run({ ...adapterFeeds(adapter, session.inputMetadata, { Tensor, strength: 0.8 }), input_ids })
 *
 * Errors: BAD_OPTION (the session has no adapter inputs, a strength that is not finite), ADAPTER_MISMATCH, which names
 * layers and shapes.
 */
export function adapterFeeds<T>(
  adapter: Adapter,
  inputs: readonly InputMetadata[],
  options: FeedOptions & { readonly Tensor: TensorClass<T> },
): Record<string, T>;
export function adapterFeeds(
  adapter: Adapter,
  inputs: readonly InputMetadata[],
  options?: FeedOptions,
): Record<string, PlainTensor>;
export function adapterFeeds<T>(
  adapter: Adapter,
  inputs: readonly InputMetadata[],
  options: FeedOptions & { readonly Tensor?: TensorClass<T> } = {},
): Record<string, T | PlainTensor> {
  return made(feeds(adapter, inputs, options), options.Tensor);
}

/** The feeds that make a session compute the base model: tensors of rank 0. Errors: BAD_OPTION. */
export function baseFeeds<T>(
  inputs: readonly InputMetadata[],
  options: { readonly Tensor: TensorClass<T> },
): Record<string, T>;
export function baseFeeds(inputs: readonly InputMetadata[]): Record<string, PlainTensor>;
export function baseFeeds<T>(
  inputs: readonly InputMetadata[],
  options: { readonly Tensor?: TensorClass<T> } = {},
): Record<string, T | PlainTensor> {
  return made(feeds(undefined, inputs, {}), options.Tensor);
}

function made<T>(
  plain: ReadonlyMap<string, PlainTensor>,
  Tensor: TensorClass<T> | undefined,
): Record<string, T | PlainTensor> {
  return Object.fromEntries(
    [...plain].map(([name, t]) => [name, Tensor === undefined ? t : new Tensor(t.type, t.data, t.dims)]),
  );
}
