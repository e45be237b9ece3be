/** Converts the tensors of PEFT's LoRA by key (peft/utils/save_and_load.py) to layers. Runs in browsers too. */
import { adapterUnsupported, badAdapter, didYouMean } from '../errors.ts';
import { type RawTensor, toFloat32 } from '../formats/rawTensor.ts';
import { type Factors, type LayerForm, transposed } from '../graph/layers.ts';
import { effectiveScale, type PeftConfig, type Scaled } from './peftConfig.ts';

export const configName = 'adapter_config.json';
export const weightsName = 'adapter_model.safetensors';

/** The prefix of PEFT's keys, as save_pretrained writes them. */
export const peftPrefix = 'base_model.model.';

/**
 * One adapted module, its tensors in the layout of the flat state (graph/layers.ts): those of a convolution are PEFT's
 * own, the others are the transposes of PEFT's, so that y += scale · (x·A)·B.
 */
export interface PeftLayer extends Scaled, Factors {
  /** The module's path in the files that it was read from. */
  readonly module?: string;
  /** [out]: the layer is weight-decomposed (DoRA). */
  readonly magnitude?: Float32Array;
}

/** The key of one factor, as save_pretrained writes it. */
export const peftKey = (path: string, form: LayerForm, part: 'A' | 'B'): string =>
  `${peftPrefix}${path}.${form === 'embedding' ? `lora_embedding_${part}` : `lora_${part}.weight`}`;

/** Both keys of a module, for messages. */
export const peftKeysText = (path: string, form: LayerForm): string =>
  `"${peftKey(path, form, 'A')}" and "${peftKey(path, form, 'B')}"`;

/** The tensors of a file, read on demand. */
export interface TensorSource {
  readonly tensors: ReadonlyMap<string, { readonly shape: readonly number[] }>;
  read(key: string): RawTensor | undefined;
}

/**
 * The layers by module path, in the order of the file: LoRA on linear layers, convolutions of one group and embeddings,
 * any float type. Errors: BAD_ADAPTER (half a pair, a rank that contradicts the config), ADAPTER_UNSUPPORTED by
 * feature, BAD_PATTERN.
 */
export function peftLayers(source: TensorSource, config: PeftConfig, file?: string): Map<string, PeftLayer> {
  const pairs = new Map<string, { form: LayerForm; A?: RawTensor; B?: RawTensor }>();
  for (const [key, { shape }] of source.tensors) {
    const { path, part, form } = parseKey(key, shape, file);
    const pair = pairs.get(path) ?? { form };
    if (pair.form !== form)
      throw badAdapter(`the module "${path}" has tensors of two kinds: ${pair.form} and ${form}`, file);
    if (pair[part] !== undefined) throw badAdapter(`there are two tensors lora_${part} for the module "${path}"`, file);
    const tensor = source.read(key);
    if (tensor !== undefined) pair[part] = tensor;
    pairs.set(path, pair);
  }
  const scaleOf = effectiveScale(config);
  const layers = new Map<string, PeftLayer>();
  for (const [path, { form, A, B }] of pairs) {
    if (A === undefined || B === undefined)
      throw badAdapter(
        `the module "${path}" has no lora_${A === undefined ? 'A' : 'B'}: there is no tensor "${peftKey(path, form, A === undefined ? 'A' : 'B')}"`,
        file,
      );
    layers.set(path, layer(path, form, A, B, scaleOf(path), file));
  }
  return layers;
}

/**
 * `base_model.model.PATH.lora_A.weight`, or with the adapter's name before `weight` as in state_dict(); for an
 * embedding `base_model.model.PATH.lora_embedding_A`.
 */
function parseKey(
  key: string,
  shape: readonly number[],
  file: string | undefined,
): { path: string; part: 'A' | 'B'; form: LayerForm } {
  const refuse = (feature: string, reason: string): Error =>
    adapterUnsupported(feature, `${reason} (key "${key}")`, file);
  const match = /^base_model\.model\.(.+)\.lora_([AB])(?:\.[^.]+)?\.(weight|bias)$/.exec(key);
  if (match?.[1] !== undefined) {
    if (match[3] === 'bias') throw refuse('lora_bias', 'it adds a trained bias to lora_B');
    if (shape.length < 2) throw badAdapter(`"${key}" has the shape [${shape.join(', ')}], not that of a matrix`, file);
    return { path: match[1], part: match[2] === 'A' ? 'A' : 'B', form: shape.length > 2 ? 'conv' : 'linear' };
  }
  const table = /^base_model\.model\.(.+)\.lora_embedding_([AB])(?:\.[^.]+)?$/.exec(key);
  if (table?.[1] !== undefined) {
    if (shape.length !== 2)
      throw badAdapter(`"${key}" has the shape [${shape.join(', ')}], not that of a matrix`, file);
    return { path: table[1], part: table[2] === 'A' ? 'A' : 'B', form: 'embedding' };
  }
  if (key.includes('lora_magnitude_vector')) throw refuse('use_dora', 'weight-decomposed adapters are not supported');
  if (key.includes('trainable_tokens')) throw refuse('trainable_token_indices', 'it trains rows of an embedding');
  if (/^base_model\.model\..+\.bias$/.test(key)) throw refuse('bias', 'it trains the biases of the base model');
  if (/^base_model\.model\..+\.weight$/.test(key)) {
    throw refuse('modules_to_save', 'a full weight of the base model is stored');
  }
  const stem = key.replace(/\.[^.]+(\.(weight|bias))?$/, '');
  const near = ['lora_A.weight', 'lora_B.weight', 'lora_embedding_A', 'lora_embedding_B'].map((p) => `${stem}.${p}`);
  throw badAdapter(`the key "${key}" is not one that PEFT writes for LoRA${didYouMean(key, near, 2)}`, file);
}

function layer(
  path: string,
  form: LayerForm,
  a: RawTensor,
  b: RawTensor,
  scaled: Scaled,
  file: string | undefined,
): PeftLayer {
  const [rank = 0, inputs = 0, ...kernel] = a.shape;
  const [outputs = 0, rankB = 0, ...points] = b.shape;
  if (rank !== rankB || points.length !== kernel.length || points.some((n) => n !== 1)) {
    throw badAdapter(
      `the module "${path}" has lora_A [${a.shape.join(', ')}] but lora_B [${b.shape.join(', ')}]`,
      file,
    );
  }
  if (rank !== scaled.rank) {
    throw badAdapter(`the module "${path}" has rank ${rank}, but ${configName} gives ${scaled.rank}`, file);
  }
  for (const [part, { dtype }] of [
    ['A', a],
    ['B', b],
  ] as const) {
    if (!/^(F|BF)/.test(dtype)) throw badAdapter(`lora_${part} of "${path}" has the type ${dtype}`, file);
  }
  const [A, B] = [toFloat32(a), toFloat32(b)];
  const lengths = { ...scaled, form, in: inputs, out: outputs };
  if (form === 'conv') return { ...lengths, kernel, A, B };
  return { ...lengths, A: transposed(A, rank, inputs), B: transposed(B, outputs, rank) };
}
