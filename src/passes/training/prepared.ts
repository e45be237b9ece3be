/** The types shared by the builders of training graphs. */
import type { TrainingGraph } from '../../graph/choices/compile.ts';
import type { Dim, Model } from '../../graph/model.ts';
import type { HalfType } from '../../graph/rounding.ts';
import type { DataType } from '../../graph/tensor.ts';
import type { OnPass } from '../common/pass.ts';
import type { NearMisses } from '../common/patternSearch.ts';
import type { Target } from '../common/target.ts';
import type { LossOptions } from '../loss/attachLoss.ts';
import type { ChosenLoss, LossChoiceOptions } from '../loss/chooseLoss.ts';
import type { Bindings, Wanted } from '../normalize/bind/index.ts';
import type { FixedLengths } from './fixedLengths/resolveLengths.ts';
import type { Names } from './names.ts';
import type { OptimizerOptions } from './optimizer.ts';
import type { StateLayout } from './stateLayout.ts';

export type { TrainingGraph };

export interface TrainingOptions {
  readonly choice: LossChoiceOptions;
  readonly loss: LossOptions;
  readonly optimizer: OptimizerOptions;
  readonly target: Target;
  /** The type that float32 weights were rounded to, see roundWeights. */
  readonly stored?: HalfType | undefined;
  /** The opset of the training graphs; undefined: the source's, at least 18. */
  readonly opset: number | undefined;
  /** Values of the model's inputs, in addition to those of caches. */
  readonly bind: Wanted;
  /** The axis of rows by input, and of `labels`, as given by the user: a number or `none`. */
  readonly batchAxis: Readonly<Record<string, string>>;
  /** The share of a branch's input that is dropped in training. */
  readonly dropout: number;
  /** Called after each pass. */
  readonly onPass?: OnPass | undefined;
  /** Collects subgraphs of the forward that almost match a pattern. */
  readonly misses?: NearMisses | undefined;
}

/**
 * The normalized forward graph with canonical Adapted nodes, its loss and state: every training graph starts from a
 * copy of it.
 */
export interface Prepared {
  readonly model: Model;
  readonly layout: StateLayout;
  readonly names: Names;
  readonly options: TrainingOptions;
  /** Inputs with fixed values, and the replacements for inputs that data lack. */
  readonly bindings: Bindings;
  /** Operators that compute in another type than the model declares, with the reason: a sentence each. */
  readonly notes: readonly string[];
  /** Doubts about the loss: a sentence each. */
  readonly warnings: readonly string[];
  /** Module paths of the layers, and modules_to_save weights, that no gradient of the loss reaches. */
  readonly unreached: readonly string[];
  /** The axes that count the rows of a batch. */
  readonly batch: BatchAxes;
  /** Dims that are numbers here and open in the source. */
  readonly fixed?: Fixed;
  /** The gradient passes through float16: the graphs have a loss scale. */
  readonly lossScaled: boolean;
  /** The graphs with gradients have dropout masks, and a seed input for them. */
  readonly seeded: boolean;
  /** The finished grad graph, built once: train and train_k start from copies of it. Throws NO_GRADIENT. */
  readonly gradient: () => Model;
  readonly choice: {
    readonly kind: ChosenLoss['kind'];
    readonly output: string;
    readonly tensor: string;
    readonly reason: string;
    readonly classAxis: number;
    /** The shape and type of the tensor. */
    readonly shape: readonly Dim[] | undefined;
    readonly dtype: DataType | undefined;
    /** The axes that the tensor's first axis merges: labels have them separate. */
    readonly merged: readonly Dim[] | undefined;
    /** The dim of that axis, if it is known. */
    readonly classes: number | undefined;
    /** Elements of the output above it are the prediction 1, where `output` and `tensor` do not imply it. */
    readonly threshold: number | undefined;
    /** The numbers that the output has for the classes, if they are not 0, 1, 2, …; empty if they are not known. */
    readonly classLabels: readonly number[] | undefined;
    /** For logits of tokens: the input with the tokens, and what the labels are. */
    readonly tokens: ChosenLoss['tokens'];
  };
}

/** An axis; null: the value has none, so it is the same for all rows of a batch. */
export type BatchAxis = number | null;

/** The axes that count the rows of a batch. */
export interface BatchAxes {
  /** Keys are names of the model's inputs. */
  readonly inputs: ReadonlyMap<string, BatchAxis>;
  readonly labels: BatchAxis;
  /** The outputs of the model in which it is not the first axis. */
  readonly outputs: ReadonlyMap<string, BatchAxis>;
}

/** A prepared graph before its batch axes are known. */
export type Unplaced = Omit<Prepared, 'batch'>;

/** The fixed dims of a training graph. */
export interface Fixed extends FixedLengths {
  /** The model with open dims, for graphs that accept any. */
  readonly open: Prepared;
  /** The reason why a batch cannot be padded with rows that do not count; undefined if it can. */
  readonly mixed: string | undefined;
}
