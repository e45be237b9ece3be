/**
 * loraify.json, the manifest of a package: the names of its graphs, the offset of each layer in the flat state, and the
 * compile options.
 */

import { join } from 'node:path';
import { z } from 'zod';
import { badPackage } from '../errors.ts';
import { keysOf, recordOf } from '../graph/choices/choice.ts';
import { type GraphKind, graphKinds, halfTypes, optimizers, scalings, targets } from '../graph/choices/compile.ts';
import { type LossKind, losses, lossKinds } from '../graph/choices/losses.ts';
import { factorShapes, sizeOf } from '../graph/layers.ts';
import { readWhole } from './files.ts';
import { head } from './manifestHead.ts';
import { dims, fixed, inputInfo, labelsInfo, outputInfo } from './manifestInputs.ts';
import { copy, layer, saved } from './manifestLayer.ts';
import { kindTexts, type PathKind, pathKind } from './pathKinds.ts';

export { batchAxisOf, type InputInfo, type LabelsInfo, openShape, type ValueInfo } from './manifestInputs.ts';
export { type ManifestLayer, type ManifestSaved, peftParameter, peftPath } from './manifestLayer.ts';

export const manifestName = 'loraify.json';
export const manifestFormat = 'loraify/1';

const count = z.int().nonnegative();
/** The bare name of a file of the package. */
const fileName = z
  .string()
  .regex(/^[^/\\\0]+$/)
  .refine((name) => name !== '.' && name !== '..', 'must be the name of a file in the package');
/** The path of a file below the folder of the package. */
const filePath = z.string().regex(/^(?!\.{1,2}(\/|$))[^/\\\0]+(\/(?!\.{1,2}(\/|$))[^/\\\0]+)*$/);
const pair = z.tuple([z.string(), z.string()]);

/**
 * `bytes` bytes of `file` (of the package) from `offset` belong at byte `at` of source.skeleton. Without `file` they
 * are only in the source, at its `offset`: the package has them rounded.
 */
const splice = z.object({ at: count, bytes: count, file: fileName.optional(), offset: count });

/** Frozen float32 weights that the package stores in half precision. */
const precision = z.object({
  type: z.enum(halfTypes),
  /** The file that has them, if they are too large for the graphs themselves. */
  file: fileName.optional(),
  /** The compute type of their MatMuls in the training graphs. */
  computes: z.enum([...halfTypes, 'float32']),
  /** The type of activations and gradients between these MatMuls, if it is not float32. */
  activations: z.enum(halfTypes).optional(),
  weights: count,
  /** Their size here and in the source. */
  bytes: count,
  sourceBytes: count,
});

const schema = z.object({
  format: z.literal(manifestFormat),
  version: z.string(),
  source: z.object({
    file: z.string(),
    bytes: count,
    /** SHA-256 of source.skeleton, hexadecimal. */
    sha256: z.string().regex(/^[0-9a-f]{64}$/),
    opset: z.int(),
    /** The source's own external data files, copied into the package unless its weights are rounded. */
    data: z.array(filePath).optional(),
    /** Data files that source.skeleton calls otherwise, such as `./model.data`, by that name. */
    renamed: z.record(z.string(), filePath).optional(),
    /** The path of the source relative to the package's folder, if a merge needs it. */
    path: z.string().optional(),
    /** The model's type and class in the config.json beside the source or in the folder above it. */
    family: z.object({ type: z.string(), architecture: z.string().optional() }).optional(),
  }),
  /** Absent if all weights are unchanged. */
  precision: precision.optional(),
  /** The head that the source got: what is compiled, and what source.skeleton has, is the source with it. */
  head: head.optional(),
  graphs: z.object(recordOf(graphKinds, () => fileName.optional())),
  /** The folder of the package with Hugging Face's tokenizer files. */
  tokenizer: fileName.optional(),
  /** The execution provider that the training graphs are made for; `portable`: any. */
  for: z.enum(keysOf(targets)).optional(),
  /** Dims that are fixed in train, train_k and grad and open in the model: `inputs` and `labels` show which. */
  fixed: fixed.optional(),
  lora: z.object({
    rank: z.int().positive(),
    alpha: z.number(),
    scaling: z.enum(keysOf(scalings)),
    init: z.string(),
    seed: z.int(),
    dropout: z.number(),
    /** Fields of the adapter_config.json that the package was compiled from, written back unchanged. */
    peft: z.record(z.string(), z.unknown()).optional(),
    dora: z.boolean().optional(),
    /** LoRA that the source has: with `train`, its branches are not in the graphs, but are the initial adapter. */
    existing: z.object({ use: z.enum(['train', 'keep']), modules: z.array(z.string()) }).optional(),
    /** Names that the modules of `saved` end with. */
    modulesToSave: z.array(z.string()).optional(),
  }),
  layers: z.array(layer),
  /** The modules_to_save weights, after all layers in the state. */
  saved: z.array(saved).optional(),
  /** Weights of the source that repeat another: the graphs read that one, and a merge changes both. */
  copies: z.array(copy).optional(),
  skipped: z.array(z.object({ node: z.string(), op: z.string(), reason: z.string() })),
  /**
   * Names of the state's inputs and outputs; `v` is absent for optimizers without it, `lossScale` if no gradient is
   * float16.
   */
  state: z.object({
    size: count,
    params: pair,
    m: pair,
    v: pair.optional(),
    step: pair,
    /** Present if the gradient passes through float16; `optimizer.lossScale` has the rule that updates it. */
    lossScale: pair.optional(),
    lr: z.string(),
  }),
  /** The model's inputs that can be fed in training, evaluation and prediction. */
  inputs: z.array(inputInfo),
  labels: labelsInfo.optional(),
  /** The model's outputs whose batch axis is not the first; null: without one entry per row. */
  outputs: z.array(outputInfo).optional(),
  loss: z
    .object({
      kind: z.enum(lossKinds),
      /** The graph's output, and the value that the loss is attached to. */
      output: z.string(),
      tensor: z.string(),
      chosen: z.string(),
      classAxis: z.int().optional(),
      /** The number of classes, if the model declares it. */
      classes: z.int().positive().optional(),
      ignoreIndex: z.int(),
      labelSmoothing: z.number(),
      classWeights: z.array(z.number()).optional(),
      /**
       * Elements of the output above it are the prediction 1, for binary labels; absent: 0 where the loss is attached
       * to the output itself, else 0.5.
       */
      threshold: z.number().optional(),
      /** The numbers that an output of predicted classes has for them; empty if not known; absent: 0, 1, 2, …. */
      classLabels: z.array(z.number()).optional(),
      /** The labels in words. */
      labels: z.string().optional(),
      /**
       * For logits of tokens: the input with the tokens, and whether the labels are these tokens, those that follow
       * (shifted in the data), or the original ones at masked positions.
       */
      tokens: z.object({ input: z.string(), labels: z.enum(['tokens', 'next', 'masked']) }).optional(),
      /** Module paths of layers, and modules_to_save weights, that no gradient of the loss reaches. */
      unreached: z.array(z.string()).optional(),
      /** Numbers that the loss is computed with, where it has any. */
      params: z.record(z.string(), z.number()).optional(),
    })
    .optional(),
  names: z.object({
    loss: z.string(),
    grad_norm: z.string(),
    weight: z.string(),
    grad: z.string(),
    apply: z.string().optional(),
    /** The int32 input that seeds the dropout masks, if there are any. */
    seed: z.string().optional(),
  }),
  optimizer: z.object({
    kind: z.enum(keysOf(optimizers)),
    betas: z.tuple([z.number(), z.number()]),
    eps: z.number(),
    weightDecay: z.number(),
    maxGradNorm: z.number(),
    /** The momentum of sgd. */
    momentum: z.number().optional(),
    /**
     * The first step is fed `initial`. A non-finite gradient skips the step and halves the scale; every
     * `growthInterval` steps taken double it. Below `least` a lower scale gains nothing.
     */
    lossScale: z.object({ initial: z.number(), growthInterval: z.int().positive(), least: z.number() }).optional(),
  }),
  counts: z.object({ layers: count, trainable: count, total: count }),
  splices: z.array(splice).optional(),
  /** Inputs of the model that are constant in the training graphs, and their values. */
  bound: z
    .array(z.object({ name: z.string(), value: z.string(), type: z.string().optional(), shape: dims.optional() }))
    .optional(),
  /** The options of the compile, for information only. */
  options: z.record(z.string(), z.unknown()).optional(),
});

export type Manifest = z.infer<typeof schema>;
export type ManifestSplice = z.infer<typeof splice>;
export type { GraphKind };

/** Whether the graphs compute a loss: not where the caller does. */
export const reportsLoss = (loss: { readonly kind: LossKind } | undefined): boolean =>
  loss === undefined || losses[loss.kind].over !== 'caller';

const maxBytes = 2 ** 28;

/**
 * Reads and checks the manifest of a package directory. Errors: BAD_PACKAGE, which names the field, for anything
 * missing or malformed, and for layers outside the state.
 */
export function readManifest(directory: string): Manifest {
  const file = join(directory, manifestName);
  let bytes: Uint8Array;
  try {
    bytes = readWhole(file, maxBytes, (size) => badPackage(`a manifest of ${size} bytes is too large`, file));
  } catch (error) {
    const kind = pathKind(directory);
    if (kind !== undefined && kind !== 'package')
      throw badPackage(`"${directory}" is ${kindTexts[kind]}, not a package`, directory, packageHints[kind](directory));
    const reason = error instanceof Error ? error.message : String(error);
    throw badPackage(`"${directory}" is not a package: ${reason}`, file);
  }
  return parseManifest(new TextDecoder().decode(bytes), file);
}

/** The command that was meant, if a path is not that of a package. */
const packageHints: Readonly<Record<Exclude<PathKind, 'package'>, (path: string) => string>> = {
  model: (path) => `compile it first: loraify ${path}; the package is the folder that this writes`,
  run: (path) => `give the package that the run trained; its adapter is chosen with --adapter ${path}`,
  adapter: (path) => `give the package, and the adapter with --adapter ${path}`,
};

/** Does the same as readManifest for the manifest's text. */
export function parseManifest(text: string, file?: string): Manifest {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw badPackage(`${manifestName} is not JSON: ${error instanceof Error ? error.message : error}`, file);
  }
  const format = typeof json === 'object' && json !== null && 'format' in json ? json.format : undefined;
  if (format !== manifestFormat) {
    throw badPackage(
      `its format is ${JSON.stringify(format) ?? 'missing'}; this release reads "${manifestFormat}"`,
      file,
    );
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw badPackage(`${manifestName}: ${fieldName(issue?.path ?? [])}: ${issue?.message ?? 'it is malformed'}`, file);
  }
  checkLayers(parsed.data, file);
  return parsed.data;
}

/** The text of loraify.json. Equal manifests give equal text. Errors: BAD_PACKAGE if it could not be read back. */
export function manifestText(manifest: Manifest): string {
  const text = `${JSON.stringify(manifest, undefined, 2)}\n`;
  parseManifest(text);
  return text;
}

/** The manifest as a JSON Schema (draft 2020-12). */
export function manifestJsonSchema(): object {
  return { title: 'loraify.json', ...z.toJSONSchema(schema, { io: 'input' }) };
}

function checkLayers({ layers, saved = [], state }: Manifest, file: string | undefined): void {
  const paths = new Set<string>();
  for (const [i, l] of layers.entries()) {
    const fail = (reason: string): Error => badPackage(`${manifestName}: layers[${i}] ("${l.path}") ${reason}`, file);
    if (paths.has(l.path)) throw fail('has the path of another layer');
    paths.add(l.path);
    const wanted = factorShapes(l);
    for (const part of ['A', 'B'] as const) {
      const { shape, offset } = l[part];
      if (shape.join() !== wanted[part].join()) {
        throw fail(`has ${part} of shape [${shape.join(', ')}], not [${wanted[part].join(', ')}]`);
      }
      if (offset + sizeOf(shape) > state.size) throw fail(`has ${part} beyond the state's ${state.size} elements`);
    }
    const { magnitude: m } = l;
    if (m !== undefined && (m.shape.join() !== `${l.out}` || m.offset + l.out > state.size))
      throw fail(`has a magnitude that is not [${l.out}] inside the state`);
  }
  for (const { parameter, offset, shape } of saved) {
    if (offset + sizeOf(shape) > state.size)
      throw badPackage(`${manifestName}: "${parameter}" of saved is beyond the state's ${state.size} elements`, file);
  }
}

/** A field's path as text: `layers[3].A.offset`. */
function fieldName(path: readonly PropertyKey[]): string {
  const text = path.map((key) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`)).join('');
  return text.replace(/^\./, '') || 'the whole';
}
