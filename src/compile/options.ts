/** The options of a compile with defaults and checks, for the library and the command line alike. */
import { z } from 'zod';
import { changesBase, initKinds } from '../adapter/index.ts';
import { badOption } from '../errors.ts';
import type { HalfType } from '../graph/rounding.ts';
import { lossKinds, type TrainingGraph, targets, trainingGraphs } from '../passes/index.ts';

export const scalings = ['standard', 'rslora', 'alpha'] as const;
export const emittable = ['model', ...trainingGraphs] as const;
export const precisions = ['fp32', 'fp16', 'bf16'] as const;
export type Emittable = 'model' | TrainingGraph;

const finite = z.number().refine(Number.isFinite, 'must be a finite number');
const positive = finite.refine((x) => x > 0, 'must be positive');
const fraction = finite.refine((x) => x >= 0 && x < 1, 'must be at least 0 and below 1');
const names = z.array(z.string().min(1));

const schema = z.strictObject({
  /** Rank of every branch. Never clipped. */
  rank: z.int().positive().default(8),
  /** LoRA alpha. */
  alpha: finite.default(16),
  scaling: z.enum(scalings).default('standard'),
  init: z.union([z.enum(initKinds), z.templateLiteral(['pissa_niter_', z.int().nonnegative()])]).default('kaiming'),
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
  /** The share of a branch's input that is dropped in each training step; absent: the adapter's, else 0. */
  dropout: fraction.optional(),
  /** Weight-decomposed layers (DoRA): each has a trained magnitude for the weights of every output. */
  dora: z.boolean().default(false),
  /** PEFT's modules_to_save: suffixes of the paths of modules that are fully trained. */
  modulesToSave: names.optional(),
  loss: z.enum(['auto', ...lossKinds]).default('auto'),
  lossOutput: z.string().optional(),
  classAxis: z.int().default(-1),
  ignoreIndex: z.int().default(-100),
  labelSmoothing: finite.refine((x) => x >= 0 && x <= 1, 'must be between 0 and 1').default(0),
  /** One weight per class. On the command line a JSON file. */
  classWeights: z.array(finite.refine((x) => x >= 0, 'must not be negative')).optional(),
  /** Values of inputs of the model in the training graphs: zeros, ones, empty, input (it remains one), or a file. */
  bind: z.record(z.string(), z.string().min(1)).default({}),
  /** Numbers for open dims of the source, in the graphs that take steps: rows, and the positions of a sequence. */
  batch: z.int().positive().optional(),
  seq: z.int().positive().optional(),
  /** The same for dims by their symbols in the model. */
  dim: z.record(z.string(), z.int().positive()).default({}),
  optimizer: z.enum(['adamw', 'sgd']).default('adamw'),
  betas: z.tuple([fraction, fraction]).default([0.9, 0.999]),
  eps: positive.default(1e-8),
  weightDecay: finite.refine((x) => x >= 0, 'must not be negative').default(0),
  /** Global L2 norm at which gradients are clipped; 0 switches it off. */
  maxGradNorm: finite.refine((x) => x >= 0, 'must not be negative').default(1),
  /** The momentum of sgd. */
  momentum: fraction.default(0.9),
  emit: z.array(z.enum(['all', ...emittable])).default(['all']),
  /** The execution provider that the training graphs are made for; `portable`: any. */
  for: z.enum(targets).default('portable'),
  /**
   * The storage type of frozen float32 weights, and the type of their MatMuls if the provider supports it; fp32:
   * unchanged.
   */
  precision: z.enum(precisions).default('fp32'),
  /** The opset of the training graphs. */
  opset: z.int().optional(),
  /** The package directory; absent: `./<model name without .onnx>.lora`. */
  out: z.string().optional(),
  /** Replaces an existing package. */
  force: z.boolean().default(false),
  /** Reports what would be done without writing it. */
  dryRun: z.boolean().default(false),
  /** Writes the text of the model after every pass into this folder. */
  dump: z.string().optional(),
});

/** Options as passed by a caller: all may be left out. */
export type CompileOptions = z.input<typeof schema>;
/** Options with every default filled in. */
export type ResolvedOptions = z.output<typeof schema>;

/** Fills in defaults. Throws BAD_OPTION, which names the option. */
export function resolveOptions(options: CompileOptions): ResolvedOptions {
  const defined = Object.fromEntries(Object.entries(options).filter(([, v]) => v !== undefined));
  const result = schema.safeParse(defined);
  if (result.success) {
    const { adapter, init } = result.data;
    if (adapter !== undefined && (init === 'orthogonal' || changesBase(init)))
      throw badOption(`--init ${init} and --adapter both set the initial A and B: use one`, 'leave one of them out');
    return result.data;
  }
  const [issue] = result.error.issues;
  const where = issue?.path.join('.') ?? '';
  throw badOption(where === '' ? (issue?.message ?? 'an option is wrong') : `option ${where}: ${issue?.message}`);
}

/** The type that frozen weights are rounded to; undefined: unchanged. */
export const halfTypeOf = ({ precision }: ResolvedOptions): HalfType | undefined =>
  precision === 'fp16' ? 'float16' : precision === 'bf16' ? 'bfloat16' : undefined;

/** The graphs to write. */
export const emitted = (options: ResolvedOptions): readonly Emittable[] =>
  options.emit.includes('all') ? emittable : emittable.filter((e) => options.emit.includes(e));
