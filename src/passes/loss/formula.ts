/** The input and the result of a loss formula. */
import type { Builder } from '../../graph/builder.ts';
import type { LossParams } from '../../graph/choices/losses.ts';
import type { Dim, Value } from '../../graph/model.ts';
import type { Target } from '../common/target.ts';
import type { ChosenLoss } from './chooseLoss.ts';

export interface LossOptions {
  readonly ignoreIndex: number;
  readonly labelSmoothing: number;
  /** One weight per class, or undefined. */
  readonly classWeights: readonly number[] | undefined;
  /** Parameters that were given; those of other losses are ignored. */
  readonly params?: LossParams;
  /** Float labels may be `noLabel`, which is ignored. */
  readonly partly?: boolean | undefined;
}

export interface Attached {
  /** Scalar float32 (`external`: the output itself). */
  readonly loss: Value;
  /** The number of elements (or the sum of class weights) that the mean runs over, scalar float32. */
  readonly weight: Value;
  /** The label input, `d_<output>` for `external`, undefined for `output`. */
  readonly labels: Value | undefined;
  /**
   * The value at which differentiation starts, and its gradient, which is never half precision even if the value is.
   */
  readonly seed: readonly [Value, Value];
}

/** The input of a formula. */
export interface LossSite {
  readonly choice: ChosenLoss;
  readonly options: LossOptions;
  /** Values of the loss's parameters. */
  readonly params: Readonly<Record<string, number>>;
  readonly labelName: string;
  /** The axes that the tensor's first axis merges: labels have them separate. */
  readonly merged: readonly Dim[] | undefined;
  readonly target: Target;
}

export type LossFormula = (g: Builder, site: LossSite) => Attached;
