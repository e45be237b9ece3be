/** Losses: what a compile attaches to an output, and what training and evaluation must know of it. */
import { type Choice, keysOf } from './choice.ts';

/** A number that a loss is computed with: an option of `compile` and a field of `loss.params` in the manifest. */
export interface LossParam extends Choice {
  readonly default: number;
  readonly min?: number;
  readonly max?: number;
}

export interface Loss extends Choice {
  /** The type of the labels; `output`: that of the output, whose gradient is fed; absent: there are no labels. */
  readonly labels?: 'int64' | 'float32' | 'output';
  /**
   * The domain of the mean. `classes`: rows of logits, each with the index of its class; `elements`: elements, each
   * with its label; `model`: the model computes the loss itself; `caller`: the caller computes it and feeds its
   * gradient.
   */
  readonly over: 'classes' | 'elements' | 'model' | 'caller';
  /**
   * Next-token prediction: the logits of position i are compared with label i + 1, and labels that data lack are the
   * tokens.
   */
  readonly shift?: true;
  /** It takes logits: on an output that is a probability, it is attached to what that is computed from. */
  readonly logits?: true;
  /** Labels of float type are shares from 0 to 1. */
  readonly share?: true;
  /** The metrics that an evaluation computes in addition to the loss. */
  readonly metrics?: 'classes' | 'tokens' | 'binary' | 'regression';
  /** The options of losses that it takes; giving another one is an error. */
  readonly takes: readonly LossOption[];
  readonly params?: Readonly<Record<string, LossParam>>;
}

/** Options of `compile` that several losses share. */
export const lossOptions = {
  classAxis: { default: -1, help: 'axis of the classes in the logits' },
  ignoreIndex: { default: -100, help: 'label that does not count' },
  labelSmoothing: { default: 0, help: 'share of the target spread over all classes (bce: over 0 and 1), 0 to 1' },
  classWeights: {
    default: undefined,
    help: 'JSON file with one weight per class (bce: of the label 1, one for all or per column)',
  },
  labels: {
    default: undefined,
    help: "the model's classes: their number, their names as A,B,C, a .txt file (a name a line) or a .json file (a list or id2label)",
  },
} as const satisfies Readonly<Record<string, Choice & { readonly default: number | undefined }>>;
export type LossOption = keyof typeof lossOptions;

const rows = {
  'cross-entropy': {
    help: 'class labels: -log softmax at the label, as torch.nn.functional.cross_entropy',
    labels: 'int64',
    over: 'classes',
    logits: true,
    metrics: 'classes',
    takes: ['classAxis', 'ignoreIndex', 'labelSmoothing', 'classWeights', 'labels'],
  },
  'causal-lm': {
    help: 'cross-entropy of logits [N, S, C] with the next token of each position',
    labels: 'int64',
    over: 'classes',
    shift: true,
    logits: true,
    metrics: 'tokens',
    takes: ['classAxis', 'ignoreIndex', 'labelSmoothing', 'classWeights'],
  },
  mse: {
    help: 'numbers: squared difference',
    labels: 'float32',
    over: 'elements',
    metrics: 'regression',
    takes: [],
  },
  l1: {
    help: 'numbers: absolute difference',
    labels: 'float32',
    over: 'elements',
    metrics: 'regression',
    takes: [],
  },
  huber: {
    help: 'numbers: squared difference up to 1, absolute beyond (delta 1)',
    labels: 'float32',
    over: 'elements',
    metrics: 'regression',
    takes: [],
  },
  bce: {
    help: 'labels 0 to 1: binary cross-entropy of logits, as BCEWithLogitsLoss',
    labels: 'float32',
    over: 'elements',
    logits: true,
    share: true,
    metrics: 'binary',
    takes: ['labelSmoothing', 'classWeights'],
  },
  focal: {
    help: 'class labels: -(1 - p)^gamma log p, cross-entropy with less weight on what is right already',
    labels: 'int64',
    over: 'classes',
    logits: true,
    metrics: 'classes',
    takes: ['classAxis', 'ignoreIndex', 'classWeights', 'labels'],
    params: { gamma: { default: 2, min: 0, help: 'focusing exponent; 0 is plain cross-entropy' } },
  },
  'sigmoid-focal': {
    help: 'labels 0 to 1: focal loss of logits, as torchvision.ops.sigmoid_focal_loss',
    labels: 'float32',
    over: 'elements',
    logits: true,
    share: true,
    metrics: 'binary',
    takes: [],
    params: {
      gamma: { default: 2, min: 0, help: 'focusing exponent; 0 is plain cross-entropy' },
      focalAlpha: {
        default: 0.25,
        min: -1,
        max: 1,
        help: 'weight of the label 1, that of 0 is the rest to 1; negative: no weights',
      },
    },
  },
  output: {
    help: 'the output is the loss: a scalar that the model computes',
    over: 'model',
    takes: [],
  },
  external: {
    help: 'the caller computes the loss and feeds d_<output>, its gradient',
    labels: 'output',
    over: 'caller',
    takes: [],
  },
} as const satisfies Readonly<Record<string, Loss>>;

export type LossKind = keyof typeof rows;

export const losses: Readonly<Record<LossKind, Loss>> = rows;
export const lossKinds: readonly LossKind[] = keysOf(rows);

/** `--loss`: a loss, or the one that the model's outputs call for. */
export const lossChoices = {
  auto: { help: 'chosen by the shape and the origin of the output, and explained' },
  ...losses,
} satisfies Readonly<Record<string, Choice>>;

type ParamsOf<R> = R extends { readonly params: infer P } ? keyof P & string : never;
/** The parameters of all losses. */
export type LossParamName = { [K in LossKind]: ParamsOf<(typeof rows)[K]> }[LossKind];

const isParam = (name: string): name is LossParamName =>
  lossKinds.some((k) => Object.hasOwn(losses[k].params ?? {}, name));
export const lossParamNames: readonly LossParamName[] = [
  ...new Set(lossKinds.flatMap((k) => Object.keys(losses[k].params ?? {}).filter(isParam))),
];

/** The losses that take a parameter, in the order of the table. */
export const lossesWith = (name: LossParamName): { readonly kind: LossKind; readonly param: LossParam }[] =>
  lossKinds.flatMap((kind) => {
    const param = losses[kind].params?.[name];
    return param === undefined ? [] : [{ kind, param }];
  });

/** Parameters as options give them: those of any loss, or none. */
export type LossParams = { readonly [K in LossParamName]?: number | undefined };

/** Values of a loss's parameters: those given, else its defaults. Empty where it has none. */
export const lossParamsOf = (kind: LossKind, given: LossParams = {}): Record<string, number> =>
  Object.fromEntries(
    Object.entries(losses[kind].params ?? {}).map(([name, param]) => [
      name,
      (isParam(name) ? given[name] : undefined) ?? param.default,
    ]),
  );

/** The losses that take an option or a parameter. */
export const takersOf = (name: string): LossKind[] =>
  lossKinds.filter((k) => losses[k].takes.some((o) => o === name) || Object.hasOwn(losses[k].params ?? {}, name));

/**
 * The float label of an ignored element, in graphs with fixed shapes: the largest float32, so that one comparison finds
 * it on every provider. It pads rows and batches, as the ignore index does for class labels.
 */
export const noLabel = 3.4028234663852886e38;
