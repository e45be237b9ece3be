/** The types that the building of training graphs shares. */
import type { TrainingGraph } from '../../graph/choices/compile.ts';
import type { Model } from '../../graph/model.ts';
import type { HalfType } from '../../graph/rounding.ts';
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
  /** The type that float32 weights were stored in, see storeHalf. */
  readonly stored?: HalfType | undefined;
  /** Of the training graphs; undefined: the source's, at least 18. */
  readonly opset: number | undefined;
  /** What fixes inputs of the model, beside the caches. */
  readonly bind: Wanted;
  /** The share of a branch's input that is left out while training. */
  readonly dropout: number;
  /** Called after each pass. */
  readonly onPass?: OnPass | undefined;
  /** Collects what nearly matched a pattern of the forward graph. */
  readonly misses?: NearMisses | undefined;
}

/** The normalized forward graph with canonical Adapted nodes, its loss and state: what every training graph is a copy of. */
export interface Prepared {
  readonly model: Model;
  readonly layout: StateLayout;
  readonly names: Names;
  readonly options: TrainingOptions;
  /** Inputs that are fixed, and what stands for those that data lack. */
  readonly bindings: Bindings;
  /** What computes in another type than the model says, and why. */
  readonly notes: readonly string[];
  /** Lengths that are numbers here and open in the source. */
  readonly fixed?: Fixed;
  /** The gradient passes through float16: the graphs have a loss scale. */
  readonly lossScaled: boolean;
  /** The graphs with gradients have masks, and a seed for them. */
  readonly seeded: boolean;
  /** The finished grad graph, made once: train and train_k grow out of copies of it. Throws NO_GRADIENT. */
  readonly gradient: () => Model;
  readonly choice: {
    readonly kind: ChosenLoss['kind'];
    readonly output: string;
    readonly tensor: string;
    readonly reason: string;
    readonly classAxis: number;
    /** The length of that axis, where it is known. */
    readonly classes: number | undefined;
  };
}

/** What of a training graph was fixed. */
export interface Fixed extends FixedLengths {
  /** The model as it was: for graphs that take any lengths. */
  readonly open: Prepared;
  /** Why a batch cannot be filled up with rows that do not count; undefined where it can. */
  readonly mixed: string | undefined;
}
