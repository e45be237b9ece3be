/** The main thread's side of the worker: runs graphs without blocking the event loop. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { LoraifyError, runtimeFailed } from '../../errors.ts';
import { compiledFile } from '../../formats/compiled.ts';
import type { GraphKind, Manifest } from '../../formats/manifest.ts';
import type { BatchTensor } from '../data/index.ts';
import type { NodePlacement } from '../session/nodePlacement.ts';
import type {
  Call,
  Failure,
  Feeds,
  Kind,
  OutputInfo,
  Reply,
  Request,
  Result,
  RunResult,
  StepSettings,
  TrainingState,
} from './protocol.ts';

/**
 * A running package. Calls are executed in the order they are made. Feeds are transferred: their arrays are empty
 * afterwards. Every call: RUNTIME_FAILED if ONNX Runtime refuses or the worker ends, BAD_PACKAGE for a graph that the
 * package lacks.
 */
export interface Engine {
  readonly manifest: Manifest;
  readonly directory: string;
  /** The execution provider in use. */
  readonly provider: string;
  /** Loads a graph and returns the names of its inputs, and its outputs. */
  describe(graph: GraphKind): Promise<{ readonly inputs: readonly string[]; readonly outputs: readonly OutputInfo[] }>;
  /**
   * The providers of the nodes of the graph that took the last step; undefined if they were not recorded, or before a
   * step.
   */
  placement(): Promise<NodePlacement | undefined>;
  setState(state: TrainingState): Promise<void>;
  /** A copy of the state. */
  getState(): Promise<TrainingState>;
  /** One optimizer step (train.onnx). */
  step(feeds: Feeds, settings: StepSettings): Promise<RunResult>;
  /** settings.length micro-steps in one run (train_k.onnx); feeds are stacked along a first axis. */
  steps(feeds: Feeds, settings: readonly StepSettings[], apply: readonly boolean[]): Promise<RunResult>;
  /** Computes the gradient of a batch (grad.onnx), kept in the worker until `update`; `first` discards earlier ones. */
  gather(feeds: Feeds, seed: number, first: boolean): Promise<{ readonly loss: number; readonly weight: number }>;
  /** One optimizer step with the gathered gradients (update.onnx); losses are NaN. */
  update(lr: number): Promise<RunResult>;
  /** Forward and loss at the current state (eval.onnx), with the requested outputs of the model. */
  evaluate(
    feeds: Feeds,
    outputs: readonly string[],
  ): Promise<{
    readonly loss: number;
    readonly weight: number;
    readonly outputs: Readonly<Record<string, BatchTensor>>;
  }>;
  /** Ends the worker when the pending calls are done. */
  close(): Promise<void>;
}

export interface EngineOptions {
  readonly provider: string;
  readonly threads?: number | undefined;
  /**
   * Records where nodes run: the first run of a graph that takes steps is slower. Default: on all providers except the
   * CPU's.
   */
  readonly placement?: boolean | undefined;
}

/** Starts the worker of a package. No graph is loaded yet. Errors: RUNTIME_FAILED. */
export async function openEngine(directory: string, manifest: Manifest, options: EngineOptions): Promise<Engine> {
  const { provider, threads } = options;
  const calls = new WorkerCalls(new Worker(compiledFile(import.meta.url, 'worker')));
  const isPlaced = options.placement ?? provider !== 'cpu';
  const profiles = isPlaced ? profileFolder() : undefined;
  await calls.ask({ kind: 'open', directory, manifest, provider, threads, profiles });
  return {
    manifest,
    directory,
    provider,
    describe: (graph) => calls.ask({ kind: 'describe', graph }),
    placement: async () => (await calls.ask({ kind: 'placement' })).placement,
    setState: async (state) => {
      await calls.ask({ kind: 'setState', state });
    },
    getState: async () => (await calls.ask({ kind: 'getState' })).state,
    step: (feeds, settings) => calls.ask({ kind: 'step', feeds, ...settings }, buffersOf(feeds)),
    steps: (feeds, settings, apply) => calls.ask({ kind: 'steps', feeds, settings, apply }, buffersOf(feeds)),
    gather: (feeds, seed, first) => calls.ask({ kind: 'gather', feeds, seed, first }, buffersOf(feeds)),
    update: (lr) => calls.ask({ kind: 'update', lr }),
    evaluate: (feeds, outputs) => calls.ask({ kind: 'evaluate', feeds, outputs }, buffersOf(feeds)),
    close: async () => {
      await calls.end();
      if (profiles !== undefined) rmSync(profiles, { recursive: true, force: true });
    },
  };
}

interface Waiting {
  readonly resolve: (result: Result) => void;
  readonly reject: (error: Error) => void;
}

/** Calls to a worker, each with its reply. A worker without pending calls does not keep the program alive. */
class WorkerCalls {
  readonly #worker: Worker;
  /** The pending calls, by id. */
  readonly #waiting = new Map<number, Waiting>();
  /** Called once no call is pending. */
  readonly #idle: (() => void)[] = [];
  #count = 0;
  #ended: Error | undefined;

  constructor(worker: Worker) {
    this.#worker = worker;
    worker.on('message', (reply: Reply) => this.#settle(reply));
    worker.on('error', (error: Error) => this.#fail(runtimeFailed(`the worker failed: ${error.message}`)));
    worker.on('exit', () => this.#fail(runtimeFailed('the worker has ended')));
  }

  /** Buffers of `move` are empty afterwards. */
  async ask<K extends Kind>(
    request: Extract<Request, { kind: K }>,
    move: readonly ArrayBuffer[] = [],
  ): Promise<Extract<Result, { kind: K }>> {
    if (this.#ended !== undefined) throw this.#ended;
    const call: Call = { id: ++this.#count, request };
    const result = await new Promise<Result>((resolve, reject) => {
      this.#waiting.set(call.id, { resolve, reject });
      this.#worker.ref();
      this.#worker.postMessage(call, move);
    });
    if (isKind<K>(result, request.kind)) return result;
    throw new Error(`the worker answered ${result.kind} to ${request.kind}`);
  }

  /** Ends the worker when the calls under way are done. */
  async end(): Promise<void> {
    this.#ended ??= runtimeFailed('the engine is closed');
    await new Promise<void>((resolve) => {
      if (this.#waiting.size === 0) resolve();
      else this.#idle.push(resolve);
    });
    await this.#worker.terminate();
  }

  #settle(reply: Reply): void {
    const call = this.#waiting.get(reply.id);
    this.#waiting.delete(reply.id);
    if (this.#waiting.size === 0) {
      this.#worker.unref();
      this.#becomeIdle();
    }
    if ('failure' in reply) call?.reject(errorOf(reply.failure));
    else call?.resolve(reply.result);
  }

  #fail(error: Error): void {
    this.#ended ??= error;
    for (const { reject } of this.#waiting.values()) reject(this.#ended);
    this.#waiting.clear();
    this.#becomeIdle();
  }

  #becomeIdle(): void {
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}

/** Without a temp folder, node placement is not reported; training is unaffected. */
function profileFolder(): string | undefined {
  try {
    return mkdtempSync(join(tmpdir(), 'loraify-profile-'));
  } catch {
    return undefined;
  }
}

function isKind<K extends Kind>(result: Result, kind: K): result is Extract<Result, { kind: K }> {
  return result.kind === kind;
}

function errorOf({ code, ...text }: Failure): Error {
  if (code === undefined) return new Error(text.message);
  return new LoraifyError(code, text);
}

function buffersOf(feeds: Feeds): ArrayBuffer[] {
  const buffers = Object.values(feeds).flatMap(({ data }) => (data.buffer instanceof ArrayBuffer ? [data.buffer] : []));
  return [...new Set(buffers)];
}
