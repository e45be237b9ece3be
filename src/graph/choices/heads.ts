/** Heads that a compile puts on the features of a model; each replaces one of its outputs. */
import { type Choice, keysOf } from './choice.ts';
import type { LossKind } from './losses.ts';

export interface Head extends Choice {
  /** The name of its output. */
  readonly output: string;
  /** One result for each row: the positions of a row are pooled. */
  readonly pools: boolean;
  /** The outputs of its Linear: one for each class, one, or --head-size of them, without which there is no Linear. */
  readonly outputs: 'classes' | 'one' | 'size';
  /** The losses that it is trained with; that of `auto` first. */
  readonly losses: readonly LossKind[];
}

const ofClasses: readonly LossKind[] = ['cross-entropy', 'focal', 'bce', 'sigmoid-focal', 'external'];
const ofNumbers: readonly LossKind[] = ['mse', 'l1', 'huber', 'external'];

const rows = {
  classification: {
    help: 'a class for each row; with --loss bce any number of classes',
    output: 'logits',
    pools: true,
    outputs: 'classes',
    losses: ofClasses,
  },
  'token-classification': {
    help: 'a class for each position, such as the tag of a word',
    output: 'logits',
    pools: false,
    outputs: 'classes',
    losses: ofClasses,
  },
  regression: {
    help: 'a number for each row',
    output: 'logits',
    pools: true,
    outputs: 'one',
    losses: ofNumbers,
  },
  embedding: {
    help: 'a vector for each row: no Linear unless --head-size adds one, then L2 normalization',
    output: 'sentence_embedding',
    pools: true,
    outputs: 'size',
    losses: ofNumbers,
  },
} as const satisfies Readonly<Record<string, Head>>;

export type HeadKind = keyof typeof rows;
export const heads: Readonly<Record<HeadKind, Head>> = rows;
export const headKinds: readonly HeadKind[] = keysOf(rows);

/** `--pooling`: the vector of a row from those of its positions. */
export const poolings = {
  cls: { help: 'that of the first position' },
  mean: { help: 'the mean over all positions that are not padding' },
  last: { help: 'that of the last position that is not padding' },
  max: { help: 'the maximum over all positions that are not padding' },
} as const satisfies Readonly<Record<string, Choice>>;
export type Pooling = keyof typeof poolings;
export const poolingKinds: readonly Pooling[] = keysOf(poolings);

/** The options of heads, and the heads that take them. */
const options = {
  pooling: (head) => head.pools,
  headInput: () => true,
  headSize: (head) => head.outputs === 'size',
  normalize: (head) => head.outputs === 'size',
} as const satisfies Readonly<Record<string, (head: Head) => boolean>>;
export type HeadOption = keyof typeof options;
export const headOptions: readonly HeadOption[] = keysOf(options);

/** The heads that take an option. */
export const headsWith = (option: HeadOption): HeadKind[] => headKinds.filter((kind) => options[option](heads[kind]));
/** The heads with classes, which --labels names. */
export const headsOfClasses: readonly HeadKind[] = headKinds.filter((kind) => heads[kind].outputs === 'classes');
/** The heads that are trained with a loss. */
export const headsOfLoss = (loss: LossKind): HeadKind[] =>
  headKinds.filter((kind) => heads[kind].losses.includes(loss));
