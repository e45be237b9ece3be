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

/** Every kind of message: what is asked, and what is answered. */
interface Messages {
  open: {
    ask: {
      readonly directory: string;
      readonly manifest: Manifest;
      readonly provider: string;
      readonly threads: number | undefined;
      /** A folder for profiles of the first runs, which record where each node ran; absent: none are made. */
      readonly profiles: string | undefined;
    };
    answer: object;
  };
  /** Loads a graph and lists its inputs and outputs. */
  describe: {
    ask: { readonly graph: GraphKind };
    answer: { readonly inputs: readonly string[]; readonly outputs: readonly OutputInfo[] };
  };
  /** The providers of the nodes in the first run of the graph that took the last step; undefined without profiles. */
  placement: { ask: object; answer: { readonly placement: NodePlacement | undefined } };
  setState: { ask: { readonly state: TrainingState }; answer: object };
  getState: { ask: object; answer: { readonly state: TrainingState } };
  step: { ask: { readonly feeds: Feeds } & StepSettings; answer: RunResult };
  /** K batches stacked along a new first axis, through the Scan graph. */
  steps: {
    ask: {
      readonly feeds: Feeds;
      readonly settings: readonly StepSettings[];
      readonly apply: readonly boolean[];
    };
    answer: RunResult;
  };
  /**
   * Adds a batch's gradient to the accumulated ones, weighted by the number of elements its mean runs over; `first`
   * resets before.
   */
  gather: {
    ask: { readonly feeds: Feeds; readonly seed: number; readonly first: boolean };
    answer: { readonly loss: number; readonly weight: number };
  };
  /** One optimizer step with the mean of the accumulated gradients, which is then reset. */
  update: { ask: { readonly lr: number }; answer: RunResult };
  evaluate: {
    ask: { readonly feeds: Feeds; readonly outputs: readonly string[] };
    answer: {
      readonly loss: number;
      readonly weight: number;
      readonly outputs: Readonly<Record<string, BatchTensor>>;
    };
  };
}

export type Kind = keyof Messages;
/** The kinds of message that an executor handles; `open` makes one. */
export type Served = Exclude<Kind, 'open'>;

export type Request<K extends Kind = Kind> = { [P in K]: { readonly kind: P } & Messages[P]['ask'] }[K];
export type Result<K extends Kind = Kind> = { [P in K]: { readonly kind: P } & Messages[P]['answer'] }[K];
export type Opening = Request<'open'>;

/** Graphs of one package and the trainable state that they advance. */
export interface Executor {
  /** Errors: BAD_PACKAGE for a graph that the package lacks, RUNTIME_FAILED. */
  handle<K extends Served>(request: Request<K>): Promise<Result<K>>;
}

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
