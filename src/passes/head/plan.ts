/** The description of a head. It determines the nodes and the initial weights that a model gets. */
import type { HeadKind, Pooling } from '../../graph/choices/heads.ts';
import type { Dim } from '../../graph/model.ts';

export interface HeadPlan {
  readonly kind: HeadKind;
  /** The value that the head reads, with its rank and the number of its features. */
  readonly input: string;
  readonly rank: number;
  readonly width: number;
  /** The value is not float32, in which the head computes. */
  readonly cast?: boolean | undefined;
  /** Dims of the result in front of its features. */
  readonly dims: readonly Dim[];
  /** The name of the head's output, and the output of the source whose place it takes. */
  readonly output: string;
  readonly replaced: string;
  /** Absent if a row has one vector, or every position has its own result. */
  readonly pooling?: Pooling | undefined;
  /** The input that is 1 for a token and 0 for padding. */
  readonly mask?: string | undefined;
  /** The mask also has the positions of a cache, which come first. */
  readonly cached?: boolean | undefined;
  readonly linear?: HeadLinear | undefined;
  /** The result has length 1. */
  readonly normalize: boolean;
  /** model_type of the config.json beside the source. */
  readonly family?: string | undefined;
  /** The reasons for the choices, for the user. */
  readonly why: string;
}

export interface HeadLinear {
  /** The module path. */
  readonly path: string;
  readonly size: number;
  readonly bias: boolean;
  /** The seed of the weight's initial values. */
  readonly seed: number;
}
