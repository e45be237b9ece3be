/** The tensors of PEFT's LoRA by key (peft/utils/save_and_load.py) -> layers. Runs in browsers too. */
import { adapterUnsupported, badAdapter } from '../errors.ts';
import { type RawTensor, toFloat32 } from '../formats/rawTensor.ts';
import { effectiveScale, type PeftConfig, type Scaled } from './peftConfig.ts';
import { transposed } from './transposed.ts';

export const configName = 'adapter_config.json';
export const weightsName = 'adapter_model.safetensors';

/** What the keys of PEFT begin with, as save_pretrained writes them. */
export const peftPrefix = 'base_model.model.';

/** One adapted module, its tensors in the layout of a branch: y += scale · (x·A)·B. */
export interface PeftLayer extends Scaled {
  readonly in: number;
  readonly out: number;
  /** [in, rank], the transpose of lora_A. */
  readonly A: Float32Array;
  /** [rank, out], the transpose of lora_B. */
  readonly B: Float32Array;
}

/** Tensors of a file, read when asked for. */
export interface TensorSource {
  readonly tensors: ReadonlyMap<string, { readonly shape: readonly number[] }>;
  read(key: string): RawTensor | undefined;
}

/**
 * By module path, in the order of the file: LoRA on linear layers, any float type.
 * Errors: BAD_ADAPTER (half a pair, a rank that contradicts the config), ADAPTER_UNSUPPORTED by feature, BAD_PATTERN.
 */
export function peftLayers(source: TensorSource, config: PeftConfig, file?: string): Map<string, PeftLayer> {
  const pairs = new Map<string, { A?: RawTensor; B?: RawTensor }>();
  for (const [key, { shape }] of source.tensors) {
    const { path, part } = parseKey(key, shape, file);
    const pair = pairs.get(path) ?? {};
    if (pair[part] !== undefined) throw badAdapter(`there are two tensors lora_${part} for the module "${path}"`, file);
    const tensor = source.read(key);
    if (tensor !== undefined) pair[part] = tensor;
    pairs.set(path, pair);
  }
  const scaleOf = effectiveScale(config);
  const layers = new Map<string, PeftLayer>();
  for (const [path, { A, B }] of pairs) {
    if (A === undefined || B === undefined)
      throw badAdapter(`the module "${path}" has no lora_${A === undefined ? 'A' : 'B'}`, file);
    layers.set(path, layer(path, A, B, scaleOf(path), file));
  }
  return layers;
}

/** `base_model.model.PATH.lora_A.weight`, or with the adapter's name before `weight` as state_dict() has it. */
function parseKey(key: string, shape: readonly number[], file: string | undefined): { path: string; part: 'A' | 'B' } {
  const refuse = (feature: string, reason: string): Error =>
    adapterUnsupported(feature, `${reason} (key "${key}")`, file);
  const match = /^base_model\.model\.(.+)\.lora_([AB])(?:\.[^.]+)?\.(weight|bias)$/.exec(key);
  if (match?.[1] !== undefined) {
    if (match[3] === 'bias') throw refuse('lora_bias', 'it adds a trained bias to lora_B');
    if (shape.length > 2) throw refuse('convolutions', 'only linear layers can be adapted');
    if (shape.length < 2) throw badAdapter(`"${key}" has the shape [${shape.join(', ')}], not that of a matrix`, file);
    return { path: match[1], part: match[2] === 'A' ? 'A' : 'B' };
  }
  if (key.includes('lora_embedding_')) throw refuse('embeddings', 'adapters of embedding tables are not supported');
  if (key.includes('lora_magnitude_vector')) throw refuse('use_dora', 'weight-decomposed adapters are not supported');
  if (key.includes('trainable_tokens')) throw refuse('trainable_token_indices', 'it trains rows of an embedding');
  if (/^base_model\.model\..+\.bias$/.test(key)) throw refuse('bias', 'it trains the biases of the base model');
  if (/^base_model\.model\..+\.weight$/.test(key)) {
    throw refuse('modules_to_save', 'a full weight of the base model is stored');
  }
  throw badAdapter(`the key "${key}" is not one that PEFT writes for LoRA`, file);
}

function layer(path: string, a: RawTensor, b: RawTensor, scaled: Scaled, file: string | undefined): PeftLayer {
  const [rank = 0, inputs = 0] = a.shape;
  const [outputs = 0, rankB = 0] = b.shape;
  if (rank !== rankB) {
    throw badAdapter(
      `the module "${path}" has lora_A [${a.shape.join(', ')}] but lora_B [${b.shape.join(', ')}]`,
      file,
    );
  }
  if (rank !== scaled.rank) {
    throw badAdapter(`the module "${path}" has rank ${rank}, but ${configName} says ${scaled.rank}`, file);
  }
  for (const [part, { dtype }] of [
    ['A', a],
    ['B', b],
  ] as const) {
    if (!/^(F|BF)/.test(dtype)) throw badAdapter(`lora_${part} of "${path}" has the type ${dtype}`, file);
  }
  return {
    ...scaled,
    in: inputs,
    out: outputs,
    A: transposed(toFloat32(a), rank, inputs),
    B: transposed(toFloat32(b), outputs, rank),
  };
}
