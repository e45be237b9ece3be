/** The options of a compile with defaults and checks, for the library and the command line alike. */
import { z } from 'zod';
import { setsBoth } from '../adapter/index.ts';
import { badOption, notTaken } from '../errors.ts';
import { keysOf, recordOf } from '../graph/choices/choice.ts';
import {
  emits,
  existingLoras,
  type GraphKind,
  graphKinds,
  inits,
  optimizerOptions,
  optimizers,
  optimizersWith,
  pissaRounds,
  precisions,
  scalings,
  targets,
} from '../graph/choices/compile.ts';
import {
  type HeadKind,
  type HeadOption,
  headKinds,
  headOptions,
  heads,
  headsOfClasses,
  headsOfLoss,
  headsWith,
  poolingKinds,
} from '../graph/choices/heads.ts';
import {
  type LossKind,
  type LossParam,
  lossChoices,
  lossesWith,
  lossOptions,
  lossParamNames,
} from '../graph/choices/losses.ts';
import type { HalfType } from '../graph/rounding.ts';
import { type HeadPlan, refuseOthers } from '../passes/index.ts';

export const emittable = graphKinds;
export type Emittable = GraphKind;

const finite = z.number().refine(Number.isFinite, 'must be a finite number');
const positive = finite.refine((x) => x > 0, 'must be positive');
const fraction = finite.refine((x) => x >= 0 && x < 1, 'must be at least 0 and below 1');
const names = z.array(z.string().min(1));

/** A parameter of losses: anything that one of them allows. */
const parameter = (of: readonly LossParam[]) =>
  finite
    .refine(
      (x) => of.some(({ min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY }) => x >= min && x <= max),
      of.map(rangeText).join(' or '),
    )
    .optional();

const rangeText = ({ min, max }: LossParam): string =>
  [...(min === undefined ? [] : [`at least ${min}`]), ...(max === undefined ? [] : [`at most ${max}`])].join(' and ');

const schema = z.strictObject({
  /** Rank of every branch. Never clipped. */
  rank: z.int().positive().default(8),
  /** LoRA alpha. */
  alpha: finite.default(16),
  scaling: z.enum(keysOf(scalings)).default('standard'),
  init: z
    .union([z.enum(keysOf(inits)), z.templateLiteral([pissaRounds.prefix, z.int().nonnegative()])])
    .default('kaiming'),
  /** The seed of all random numbers. */
  seed: z.int().default(0),
  /** Exact paths, suffixes after a dot, `/full-match expressions/`; absent: every weighted MatMul and Gemm. */
  target: names.optional(),
  exclude: names.optional(),
  /** PEFT's layers_to_transform. */
  layers: z.array(z.int().nonnegative()).optional(),
  rankPattern: z.record(z.string(), z.int().positive()).default({}),
  alphaPattern: z.record(z.string(), finite).default({}),
  /** A PEFT directory to start from; its ranks, alphas and targets replace the options'. */
  adapter: z.string().optional(),
  /** The use of LoRA that the model already has. */
  existingLora: z.enum(keysOf(existingLoras)).default('train'),
  /** The share of a branch's input that is dropped in each training step; absent: the adapter's, else 0. */
  dropout: fraction.optional(),
  /** Weight-decomposed layers (DoRA): each has a trained magnitude for the weights of every output. */
  dora: z.boolean().default(false),
  /** PEFT's modules_to_save: suffixes of the paths of modules that are fully trained. */
  modulesToSave: names.optional(),
  loss: z.enum(keysOf(lossChoices)).default('auto'),
  lossOutput: z.string().optional(),
  classAxis: z.int().default(lossOptions.classAxis.default),
  ignoreIndex: z.int().default(lossOptions.ignoreIndex.default),
  labelSmoothing: finite
    .refine((x) => x >= 0 && x <= 1, 'must be between 0 and 1')
    .default(lossOptions.labelSmoothing.default),
  /** One weight per class. On the command line a JSON file. */
  classWeights: z
    .array(finite.refine((x) => x >= 0, 'must not be negative'))
    .min(1)
    .optional(),
  /** A new head on the model's features: see docs/guide/heads.md. */
  head: z.enum(headKinds).optional(),
  /** Absent: by the kind of model. */
  pooling: z.enum(poolingKinds).optional(),
  /** The value that the head reads; absent: the hidden states. */
  headInput: z.string().min(1).optional(),
  /** The outputs of an embedding's Linear; absent: it has none. */
  headSize: z.int().positive().optional(),
  /** Whether an embedding has length 1; absent: it has. */
  normalize: z.boolean().optional(),
  /** The number of classes, their names, or a file with them; absent: the names in the model's config.json. */
  labels: z.union([z.int().positive(), z.string().min(1), names.min(1)]).optional(),
  /**
   * A folder with Hugging Face's tokenizer files, or its tokenizer.json; none; absent: beside the model, or in the folder
   * above it.
   */
  tokenizer: z.string().min(1).optional(),
  /** Parameters of the loss; absent: its own defaults. */
  ...recordOf(lossParamNames, (name) => parameter(lossesWith(name).map((l) => l.param))),
  /**
   * Values of inputs of the model in the training graphs: zeros, ones, empty, input (it remains one), or a file that
   * contains the value.
   */
  bind: z.record(z.string(), z.string().min(1)).default({}),
  /** The axis that counts rows, by input, and of `labels`: a number, or none. */
  batchAxis: z.record(z.string(), z.string().regex(/^(?:\d+|none)$/, 'must be NAME=AXIS or NAME=none')).default({}),
  /** Numbers for open dims of the source, in the graphs that take steps: rows, and the positions of a sequence. */
  batch: z.int().positive().optional(),
  seq: z.int().positive().optional(),
  /** The same for dims by their symbols in the model. */
  dim: z.record(z.string(), z.int().positive()).default({}),
  optimizer: z.enum(keysOf(optimizers)).default('adamw'),
  betas: z.tuple([fraction, fraction]).default([...optimizerOptions.betas.default]),
  eps: positive.default(optimizerOptions.eps.default),
  weightDecay: finite.refine((x) => x >= 0, 'must not be negative').default(0),
  /** Global L2 norm at which gradients are clipped; 0 switches it off. */
  maxGradNorm: finite.refine((x) => x >= 0, 'must not be negative').default(1),
  momentum: fraction.default(optimizerOptions.momentum.default),
  emit: z.array(z.enum(keysOf(emits))).default(['all']),
  /** The execution provider that the training graphs are made for; `portable`: any. */
  for: z.enum(keysOf(targets)).default('portable'),
  /**
   * The storage type of frozen float32 weights, and the type of their MatMuls if the provider supports it; fp32:
   * unchanged.
   */
  precision: z.enum(keysOf(precisions)).default('fp32'),
  /** The opset of the training graphs. */
  opset: z.int().optional(),
  /** The package directory; absent: `./<model name without .onnx>.lora`. */
  out: z.string().optional(),
  /** Replaces an existing package. */
  force: z.boolean().default(false),
  /** Opens a graph of the package in ONNX Runtime before the package appears. */
  verify: z.boolean().default(true),
  /** Reports what would be done without writing it. */
  dryRun: z.boolean().default(false),
  /** Writes the text of the model after every pass that ran into this folder, as NNN-STAGE-PASS.onnx.txt. */
  dump: z.string().optional(),
  /** Reports how long each pass took. */
  timings: z.boolean().default(false),
});

/** Options as passed by a caller: all may be left out. */
export type CompileOptions = z.input<typeof schema>;
/** Options with every default filled in. */
export interface ResolvedOptions extends z.output<typeof schema> {
  /** The options and parameters of losses that the caller set; the loss must accept each of them. */
  readonly lossGiven: readonly string[];
  /** The head that was put on the source. */
  readonly headPlan?: HeadPlan;
}

/** Fills in defaults. Throws BAD_OPTION, which names the option. */
export function resolveOptions(options: CompileOptions): ResolvedOptions {
  const defined = Object.fromEntries(Object.entries(options).filter(([, v]) => v !== undefined));
  const result = schema.safeParse(defined);
  if (result.success) {
    const { adapter, init, loss, optimizer } = result.data;
    if (adapter !== undefined && setsBoth(init))
      throw badOption(`--init ${init} and --adapter both set the initial A and B: use one`, 'leave one of them out');
    checkHead(result.data, Object.keys(defined));
    // The classes of a head are those of --labels, whatever its loss.
    const ofHead = (name: string): boolean => name === 'labels' && result.data.head !== undefined;
    const lossGiven = [...keysOf(lossOptions), ...lossParamNames].filter((name) => name in defined && !ofHead(name));
    if (loss !== 'auto') refuseOthers(loss, lossGiven);
    const other = keysOf(optimizerOptions).find((o) => o in defined && !optimizers[optimizer].takes.includes(o));
    if (other !== undefined) throw notTaken(other, `--optimizer ${optimizer}`, optimizersWith(other));
    return { ...result.data, lossGiven };
  }
  const [issue] = result.error.issues;
  const where = issue?.path.join('.') ?? '';
  throw badOption(where === '' ? (issue?.message ?? 'an option is wrong') : `option ${where}: ${issue?.message}`);
}

/** The type that frozen weights are rounded to; undefined: unchanged. */
export const halfTypeOf = ({ precision }: ResolvedOptions): HalfType | undefined => precisions[precision].type;

/** The graphs to write. */
export const emitted = (options: ResolvedOptions): readonly Emittable[] =>
  options.emit.includes('all') ? emittable : emittable.filter((e) => options.emit.includes(e));

/** The options of a compile that concern a head. */
interface HeadOptions {
  readonly head?: HeadKind | undefined;
  readonly loss: LossKind | 'auto';
  readonly lossOutput?: string | undefined;
}

/** Throws BAD_OPTION for an option that the head does not take, or that is for heads only. @param given its names. */
function checkHead({ head, loss, lossOutput }: HeadOptions, given: readonly string[]): void {
  const options = headOptions.filter((name) => given.includes(name));
  if (head === undefined) {
    const [stray] = options;
    if (stray !== undefined) throw notTaken(stray, 'a compile without --head', headsWith(stray).map(withFlag));
    return;
  }
  const other = options.find((name: HeadOption) => !headsWith(name).includes(head));
  if (other !== undefined) throw notTaken(other, withFlag(head), headsWith(other).map(withFlag));
  if (given.includes('labels') && !headsOfClasses.includes(head))
    throw notTaken('labels', withFlag(head), headsOfClasses.map(withFlag));
  if (loss !== 'auto' && !heads[head].losses.includes(loss))
    throw badOption(
      `--loss ${loss} does not apply to --head ${head}`,
      `leave it out for ${heads[head].losses[0]}, or choose one of ${heads[head].losses.join(', ')}${headsOfLoss(loss).length === 0 ? '' : `; ${loss} is for ${headsOfLoss(loss).map(withFlag).join(', ')}`}`,
    );
  if (lossOutput !== undefined)
    throw badOption(
      `--loss-output ${lossOutput} does not apply to --head ${head}: the loss is on the head's output`,
      'leave one of them out',
    );
}

const withFlag = (head: HeadKind): string => `--head ${head}`;
