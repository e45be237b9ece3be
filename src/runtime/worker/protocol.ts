/**
 * The messages between the main thread and the worker that owns the sessions. Everything here survives structured
 * cloning.
 */

import type { GraphKind, Manifest } from '../../formats/manifest.ts';
import type { BatchTensor } from '../data/index.ts';
import type { NodePlacement } from '../session/nodePlacement.ts';

/** Inputs of a graph by name. */
export type Feeds = Readonly<Record<string, BatchTensor>>;

/** The trainable state: flat float32 vectors of the manifest's state.size, and the optimizer steps done. */
export interface TrainingState {
  readonly params: Float32Array;
  readonly m: Float32Array;
  /** Absent for sgd. */
  readonly v: Float32Array | undefined;
  /** Steps taken; steps skipped for a non-finite gradient do not count. */
  readonly step: number;
  /** Absent if the graphs have no loss scale. */
  readonly lossScale: number | undefined;
}

/** The feeds of one optimizer step in addition to the batch. */
export interface StepSettings {
  readonly lr: number;
  /** The int32 seed of the dropout masks; unused by graphs without dropout. */
  readonly seed: number;
}

export interface StepResult {
  /** NaN for a loss that the caller computes (`external`). */
  readonly loss: number;
  /** Global L2 norm before clipping. */
  readonly gradNorm: number;
  /** The scale of the gradient in this step; absent if the graphs have no loss scale. */
  readonly lossScale?: number;
  /** The gradient was not finite: no step was taken, and the loss scale halved. */
  readonly skipped?: boolean;
}

/** Results of one run. If `finite` is false, the state is still that before the run. */
export interface RunResult {
  readonly steps: readonly StepResult[];
  readonly finite: boolean;
}

export interface OutputInfo {
  readonly name: string;
  readonly type: string;
  readonly shape: readonly (number | string)[];
}

export type Request =
  | {
      readonly kind: 'open';
      readonly directory: string;
      readonly manifest: Manifest;
      readonly provider: string;
      readonly threads: number | undefined;
      /** A folder for profiles of the first runs, which record where each node ran; absent: none are made. */
      readonly profiles: string | undefined;
    }
  /** Loads a graph and lists its inputs and outputs. */
  | { readonly kind: 'describe'; readonly graph: GraphKind }
  /** The providers of the nodes in the first run of the graph that took the last step; undefined without profiles. */
  | { readonly kind: 'placement' }
  | { readonly kind: 'setState'; readonly state: TrainingState }
  | { readonly kind: 'getState' }
  | ({ readonly kind: 'step'; readonly feeds: Feeds } & StepSettings)
  /** K batches stacked along a new first axis, through the Scan graph. */
  | {
      readonly kind: 'steps';
      readonly feeds: Feeds;
      readonly settings: readonly StepSettings[];
      readonly apply: readonly boolean[];
    }
  /**
   * Adds a batch's gradient to the accumulated ones, weighted by the number of elements its mean runs over; `first`
   * resets before.
   */
  | { readonly kind: 'gather'; readonly feeds: Feeds; readonly seed: number; readonly first: boolean }
  /** One optimizer step with the mean of the accumulated gradients, which is then reset. */
  | { readonly kind: 'update'; readonly lr: number }
  | { readonly kind: 'evaluate'; readonly feeds: Feeds; readonly outputs: readonly string[] };

export type Result =
  | { readonly kind: 'open' }
  | { readonly kind: 'describe'; readonly inputs: readonly string[]; readonly outputs: readonly OutputInfo[] }
  | { readonly kind: 'placement'; readonly placement: NodePlacement | undefined }
  | { readonly kind: 'setState' }
  | { readonly kind: 'getState'; readonly state: TrainingState }
  | ({ readonly kind: 'step' } & RunResult)
  | ({ readonly kind: 'steps' } & RunResult)
  | { readonly kind: 'gather'; readonly loss: number; readonly weight: number }
  | ({ readonly kind: 'update' } & RunResult)
  | {
      readonly kind: 'evaluate';
      readonly loss: number;
      readonly weight: number;
      readonly outputs: Readonly<Record<string, BatchTensor>>;
    };

/** A LoraifyError as plain data, or any other error as its message. */
export interface Failure {
  readonly code: string | undefined;
  readonly message: string;
  readonly hint: string;
  readonly file: string | undefined;
  readonly node: string | undefined;
  readonly where: string | undefined;
}

export interface Call {
  readonly id: number;
  readonly request: Request;
}

export type Reply =
  | { readonly id: number; readonly result: Result }
  | { readonly id: number; readonly failure: Failure };
