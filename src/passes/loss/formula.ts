/** What the formula of a loss reads and makes. */
import type { Builder } from '../../graph/builder.ts';
import type { LossParams } from '../../graph/choices/losses.ts';
import type { Value } from '../../graph/model.ts';
import type { Target } from '../common/target.ts';
import type { ChosenLoss } from './chooseLoss.ts';

export interface LossOptions {
  readonly ignoreIndex: number;
  readonly labelSmoothing: number;
  /** One weight per class, or undefined. */
  readonly classWeights: readonly number[] | undefined;
  /** Parameters that were given; those of other losses are ignored. */
  readonly params?: LossParams;
  /** Float labels may be `noLabel`, which does not count. */
  readonly partly?: boolean | undefined;
}

export interface Attached {
  /** Scalar float32 (`external`: the output itself). */
  readonly loss: Value;
  /** How many elements (or how much class weight) the mean runs over, scalar float32. */
  readonly weight: Value;
  /** The label input, `d_<output>` for `external`, undefined for `output`. */
  readonly labels: Value | undefined;
  /** Where the gradient enters, and the gradient, which is not of a half type even where that value is. */
  readonly seed: readonly [Value, Value];
}

/** What a formula reads. */
export interface LossSite {
  readonly choice: ChosenLoss;
  readonly options: LossOptions;
  /** Values of the loss's parameters. */
  readonly params: Readonly<Record<string, number>>;
  readonly labelName: string;
  readonly target: Target;
}

export type LossFormula = (g: Builder, site: LossSite) => Attached;
