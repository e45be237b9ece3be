/** Writes PEFT adapter directories as PeftModel.save_pretrained of PEFT 0.21 does (without its README.md). */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { badAdapter } from '../errors.ts';
import { escapePattern } from '../formats/pythonRegex.ts';
import { bytesOf, type RawTensor } from '../formats/rawTensor.ts';
import { encodeSafetensors } from '../formats/safetensors.ts';
import type { Scaling } from '../graph/choices/compile.ts';
import { factorShapes, layerOp, type Sized, sizeOf, transposed } from '../graph/layers.ts';
import { pythonJson } from './peftConfig.ts';
import { magnitudeKey, savedKey } from './peftExtras.ts';
import { configName, peftKey, weightsName } from './peftTensors.ts';

/** A layer of the flat state; the manifest's layers have these fields. */
export interface FlatLayer extends Sized {
  readonly path: string;
  readonly alpha: number;
  /** Offsets in float32 elements; shapes as in graph/layers.ts, row-major. */
  readonly A: { readonly offset: number };
  readonly B: { readonly offset: number };
  /** [out], for a DoRA layer. */
  readonly magnitude?: { readonly offset: number } | undefined;
}

/** A modules_to_save weight in the flat state, in the model's layout. */
export interface FlatWeight {
  /** Module path, dot, name. */
  readonly parameter: string;
  readonly offset: number;
  readonly shape: readonly number[];
  /** The model stores the transpose of torch's weight. */
  readonly turned?: boolean | undefined;
}

export interface PeftContent {
  readonly layers: readonly FlatLayer[];
  /** The flat vector that the offsets count in. */
  readonly params: Float32Array;
  /** The rule that derives scale from alpha; `alpha` (no division) is written for PEFT as lora_alpha = alpha · rank. */
  readonly scaling: Scaling;
  /** All paths of weighted modules, adapted or not: a target that is also a suffix of another path must be anchored. */
  readonly knownPaths: Iterable<string>;
  readonly dropout?: number;
  /** The manifest's `init`; PEFT writes `kaiming` and `kaiming-rank` as true. */
  readonly init?: string;
  /** Fields of the config that the package was compiled from; see PeftConfig. */
  readonly otherFields?: Readonly<Record<string, unknown>> | undefined;
  readonly saved?: readonly FlatWeight[] | undefined;
  /** The names by which PEFT finds the modules of `saved`. */
  readonly modulesToSave?: readonly string[] | undefined;
}

/**
 * The two files of a PEFT directory, the weights first. Equal content gives equal bytes. Errors: BAD_ADAPTER if two
 * layers have one path or a tensor is outside `params`.
 */
export function peftFiles(content: PeftContent): { readonly name: string; readonly chunks: readonly Uint8Array[] }[] {
  return [
    { name: weightsName, chunks: encodeSafetensors(peftTensors(content)) },
    { name: configName, chunks: [Buffer.from(pythonJson(peftConfig(content), new Set(['lora_dropout'])))] },
  ];
}

/** Writes both files into a directory that is being built (emit/outputs.ts). Errors: as peftFiles. */
export function writePeft(directory: string, content: PeftContent): void {
  for (const { name, chunks } of peftFiles(content)) writeFileSync(join(directory, name), Buffer.concat(chunks));
}

function peftTensors({ layers, params, saved = [] }: PeftContent): [string, RawTensor][] {
  const paths = new Set<string>();
  const whole = saved.map(({ parameter, offset, shape, turned }): [string, RawTensor] => {
    const values = params.subarray(offset, offset + sizeOf(shape));
    const [rows = 1, columns = 1] = shape;
    return turned === true
      ? [savedKey(parameter), tensor([columns, rows], transposed(values, rows, columns))]
      : [savedKey(parameter), tensor(shape, values)];
  });
  const ofLayers = layers.flatMap((layer): [string, RawTensor][] => {
    const { path, op, in: inputs, out, rank, A, B } = layer;
    if (paths.has(path)) throw badAdapter(`two layers have the module path "${path}"`);
    paths.add(path);
    const slice = (offset: number, length: number): Float32Array => {
      const values = params.subarray(offset, offset + length);
      if (offset < 0 || values.length < length) {
        throw badAdapter(`the layer "${path}" is outside the ${params.length} parameters`);
      }
      return values;
    };
    const shapes = factorShapes(layer);
    const [a, b] = [slice(A.offset, sizeOf(shapes.A)), slice(B.offset, sizeOf(shapes.B))];
    const { form } = layerOp(op);
    const magnitude = layer.magnitude === undefined ? [] : [slice(layer.magnitude.offset, out)];
    // PEFT's norm over the kernel of a convolution keeps its axes.
    const beside = form === 'conv' ? [1, out, ...(layer.kernel ?? []).map(() => 1)] : [out];
    const decomposed = magnitude.map((m): [string, RawTensor] => [magnitudeKey(path), tensor(beside, m)]);
    const key = (part: 'A' | 'B'): string => peftKey(path, form, part);
    if (form === 'conv') return [[key('A'), tensor(shapes.A, a)], [key('B'), tensor(shapes.B, b)], ...decomposed];
    return [
      [key('A'), tensor([rank, inputs], transposed(a, inputs, rank))],
      [key('B'), tensor([out, rank], transposed(b, rank, out))],
      ...decomposed,
    ];
  });
  return [...ofLayers, ...whole];
}

const tensor = (shape: readonly number[], values: Float32Array): RawTensor => ({
  dtype: 'F32',
  shape: [...shape],
  data: bytesOf(values),
});

/** The fields that PEFT 0.21 saves and that are the same for every adapter written here. */
const fixedFields = {
  alora_invocation_tokens: null,
  arrow_config: null,
  auto_mapping: null,
  base_model_name_or_path: null,
  bias: 'none',
  corda_config: null,
  ensure_weight_tying: false,
  eva_config: null,
  exclude_modules: null,
  fan_in_fan_out: false,
  inference_mode: true,
  kasa_config: null,
  layer_replication: null,
  layers_pattern: null,
  layers_to_transform: null,
  loftq_config: {},
  lora_bias: false,
  lora_ga_config: null,
  megatron_config: null,
  megatron_core: 'megatron.core',
  monteclora_config: null,
  peft_type: 'LORA',
  peft_version: '0.21.2',
  qalora_group_size: 16,
  revision: null,
  target_parameters: null,
  task_type: null,
  trainable_token_indices: null,
  use_bdlora: null,
  use_qalora: false,
  velora_config: null,
} as const;

/** Every field that PEFT 0.21 saves. */
function peftConfig({
  layers,
  scaling,
  knownPaths,
  dropout,
  init,
  otherFields,
  modulesToSave = [],
}: PeftContent): Record<string, unknown> {
  const alphaOf = (layer: FlatLayer): number => (scaling === 'alpha' ? layer.alpha * layer.rank : layer.alpha);
  const rank = mostCommon(layers.map((layer) => layer.rank)) ?? 8;
  const alpha = mostCommon(layers.map(alphaOf)) ?? 8;
  const anchored = (layer: FlatLayer): string => `^${escapePattern(layer.path)}`;
  const paths = layers.map((layer) => layer.path);
  return {
    ...fixedFields,
    r: rank,
    lora_alpha: alpha,
    rank_pattern: Object.fromEntries(layers.filter((l) => l.rank !== rank).map((l) => [anchored(l), l.rank])),
    alpha_pattern: Object.fromEntries(layers.filter((l) => alphaOf(l) !== alpha).map((l) => [anchored(l), alphaOf(l)])),
    lora_dropout: dropout ?? 0,
    use_rslora: scaling === 'rslora',
    use_dora: layers.some((l) => l.magnitude !== undefined),
    init_lora_weights: init === undefined || init.startsWith('kaiming') ? true : init,
    target_modules: targetModules(paths, knownPaths),
    modules_to_save: modulesToSave.length === 0 ? null : modulesToSave,
    ...otherFields,
  };
}

/** The paths themselves; one anchored expression if PEFT's suffix rule would match a module that has no adapter. */
function targetModules(paths: readonly string[], knownPaths: Iterable<string>): readonly string[] | string {
  const adapted = new Set(paths);
  for (const path of knownPaths) {
    if (adapted.has(path)) continue;
    for (let dot = path.indexOf('.'); dot >= 0; dot = path.indexOf('.', dot + 1)) {
      if (adapted.has(path.slice(dot + 1))) return `^(?:${paths.map(escapePattern).join('|')})$`;
    }
  }
  return paths;
}

/** The most frequent value, the first one of equals; undefined for an empty list. */
function mostCommon(values: readonly number[]): number | undefined {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].reduce<[number, number] | undefined>(
    (best, c) => (best && best[1] >= c[1] ? best : c),
    undefined,
  )?.[0];
}
