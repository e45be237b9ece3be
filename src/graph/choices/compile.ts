/** Choices of a compile. */
import { type Choice, keysOf } from './choice.ts';

/** The factor of a branch. */
export const scalings = {
  standard: { help: 'alpha / r (the LoRA paper, PEFT)', factor: (alpha: number, rank: number) => alpha / rank },
  rslora: {
    help: 'alpha / sqrt(r) (rank-stabilized LoRA)',
    factor: (alpha: number, rank: number) => alpha / Math.sqrt(rank),
  },
  alpha: { help: 'alpha itself, without a division', factor: (alpha: number) => alpha },
} as const satisfies Readonly<Record<string, Choice & { factor(alpha: number, rank: number): number }>>;
export type Scaling = keyof typeof scalings;

/** The use of LoRA branches that the model already has. */
export const existingLoras = {
  train: { help: 'its A and B are trained on, as PEFT does with is_trainable' },
  keep: { help: 'it stays as it is, and new branches are trained beside it' },
  refuse: { help: 'an error' },
} as const satisfies Readonly<Record<string, Choice>>;

export interface Init extends Choice {
  /** Neither A nor B is zero: not for convolutions, and not beside an adapter to start from. */
  readonly setsBoth?: true;
  /** A·B is taken out of the base weights, so an adapter is right only on top of the changed ones. */
  readonly changesBase?: true;
}

const initRows = {
  kaiming: { help: 'A uniform in ±1/sqrt(in), B zero (the default of PEFT)' },
  'kaiming-rank': { help: 'A uniform in ±1/sqrt(r), B zero (A stored [in, r], as in the textbook layer)' },
  gaussian: { help: 'A normal with deviation 1/r, B zero' },
  orthogonal: { help: 'A and B from one random orthogonal matrix: A·B is zero', setsBoth: true },
  pissa: { help: 'A and B are the principal singular vectors of the weight', setsBoth: true, changesBase: true },
  olora: { help: 'A and B from the QR decomposition of the weight', setsBoth: true, changesBase: true },
} as const satisfies Readonly<Record<string, Init>>;
export type NamedInit = keyof typeof initRows;
/** The inits that depend on no weight. */
export type RandomInit = Exclude<NamedInit, 'pissa' | 'olora'>;
/** `pissa_niter_N` as PEFT writes it. */
export type InitKind = NamedInit | PissaRounds;
export type PissaRounds = `pissa_niter_${number}`;

export const inits: Readonly<Record<NamedInit, Init>> = initRows;
export const pissaRounds = {
  prefix: 'pissa_niter_',
  form: 'pissa_niter_N',
  help: 'pissa by N rounds of a randomized decomposition: faster, approximate',
  is: (text: string): text is PissaRounds => /^pissa_niter_\d+$/.test(text),
} as const;

export interface Optimizer extends Choice {
  /** Vectors of the state, each as long as the parameters. */
  readonly slots: readonly ('m' | 'v')[];
  /** The options of optimizers that it alone takes; giving another one's is an error. */
  readonly takes: readonly OptimizerOption[];
}

/** Options that not every optimizer takes. */
export const optimizerOptions = {
  betas: { default: [0.9, 0.999], help: 'decay of the averages of the gradient and of its square' },
  eps: { default: 1e-8, help: 'added to the root of the second average' },
  momentum: { default: 0.9, help: 'share of the previous update that is kept' },
} as const satisfies Readonly<Record<string, Choice & { readonly default: unknown }>>;
export type OptimizerOption = keyof typeof optimizerOptions;

const optimizerRows = {
  adamw: { help: 'Adam with decoupled weight decay (torch.optim.AdamW)', slots: ['m', 'v'], takes: ['betas', 'eps'] },
  sgd: { help: 'gradient descent with momentum (torch.optim.SGD)', slots: ['m'], takes: ['momentum'] },
} as const satisfies Readonly<Record<string, Optimizer>>;
export type OptimizerKind = keyof typeof optimizerRows;
export const optimizers: Readonly<Record<OptimizerKind, Optimizer>> = optimizerRows;

/** The optimizers that take an option. */
export const optimizersWith = (name: OptimizerOption): OptimizerKind[] =>
  keysOf(optimizers).filter((kind) => optimizers[kind].takes.includes(name));

/**
 * `--for`: what training graphs are made for. `fused`: they may have fused operators that WebGPU and the standard lack.
 */
export const targets = {
  portable: { help: 'operators of the standard only: any execution provider', fused: false },
  cpu: { help: "ONNX Runtime's CPU provider", fused: true },
  cuda: { help: 'NVIDIA GPUs', fused: true },
  webgpu: { help: 'GPUs through WebGPU, browsers too', fused: false },
} as const satisfies Readonly<Record<string, Choice & { readonly fused: boolean }>>;
export type Target = keyof typeof targets;

/** The graphs of a package. `backward`: it computes gradients of a batch, and has the lengths that a compile fixes. */
export const graphs = {
  model: { help: 'the model with its branches, for inference', backward: false },
  train: { help: 'one optimizer step', backward: true },
  train_k: { help: 'several optimizer steps in one run', backward: true },
  eval: { help: 'loss and outputs without dropout', backward: false },
  grad: { help: 'loss and gradient of a batch', backward: true },
  update: { help: 'the optimizer alone', backward: false },
} as const satisfies Readonly<Record<string, Choice & { readonly backward: boolean }>>;
export type GraphKind = keyof typeof graphs;
export type TrainingGraph = Exclude<GraphKind, 'model'>;
export const graphKinds: readonly GraphKind[] = keysOf(graphs);

/** `--emit`: graphs, or all of them. */
export const emits = { all: { help: 'all of them' }, ...graphs } satisfies Readonly<Record<string, Choice>>;

/** The storage type of frozen float32 weights; `type` absent: unchanged. */
const precisionRows = {
  fp32: { help: 'as they are' },
  fp16: { help: 'float16, half the size', type: 'float16' },
  bf16: { help: 'bfloat16, half the size and the range of float32', type: 'bfloat16' },
} as const satisfies Readonly<Record<string, Choice & { readonly type?: 'float16' | 'bfloat16' }>>;
export type Precision = keyof typeof precisionRows;
export const precisions: Readonly<Record<Precision, Choice & { readonly type?: 'float16' | 'bfloat16' }>> =
  precisionRows;

/** The types that weights may be rounded to. */
export const halfTypes = keysOf(precisions).flatMap((p) => precisions[p].type ?? []);
