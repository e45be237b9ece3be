/**
 * Runs the graphs of one package in onnxruntime-node and updates its trainable state. In the worker, because `run`
 * blocks its thread.
 *
 * The state is fed as inputs and returned in separate buffers that onnxruntime-node has copied, so no buffer is ever
 * fed and fetched at once (which would corrupt the state silently), and the state before a run is kept until the new
 * one is accepted.
 */

import { type Manifest, reportsLoss } from '../../formats/manifest.ts';
import type { BatchTensor } from '../data/index.ts';
import { type Gathered, gatheredGradient } from './gatheredGradient.ts';
import { GraphSessions, type Run } from './graphSessions.ts';
import { withLossScale } from './lossScale.ts';
import type {
  Executor,
  Feeds,
  Opening,
  OutputInfo,
  Request,
  Result,
  RunResult,
  Served,
  StepSettings,
  TrainingState,
} from './protocol.ts';

type TensorMap = Map<string, BatchTensor>;

type Handlers = { readonly [K in Served]: (request: Request<K>) => Promise<Result<K>> };

export class NodeExecutor implements Executor {
  readonly #manifest: Manifest;
  readonly #graphs: GraphSessions;
  readonly #gathered: Gathered;
  #state: TrainingState | undefined;

  private constructor(manifest: Manifest, graphs: GraphSessions) {
    this.#manifest = manifest;
    this.#graphs = graphs;
    this.#gathered = gatheredGradient(manifest.state.size);
  }

  static async open(opening: Opening): Promise<NodeExecutor> {
    return new NodeExecutor(opening.manifest, await GraphSessions.open(opening));
  }

  handle<K extends Served>(request: Request<K>): Promise<Result<K>> {
    const handler: Handlers[K] = this.#handlers[request.kind];
    return handler(request);
  }

  readonly #handlers: Handlers = {
    describe: async ({ kind, graph }) => {
      const { inputNames, outputMetadata } = await this.#graphs.session(graph);
      const outputs = outputMetadata.flatMap((o): OutputInfo[] =>
        o.isTensor ? [{ name: o.name, type: o.type, shape: o.shape }] : [],
      );
      return { kind, inputs: [...inputNames], outputs };
    },

    placement: async ({ kind }) => ({ kind, placement: this.#graphs.placement }),

    setState: async ({ kind, state }) => {
      this.#state = state;
      this.#gathered.clear();
      return { kind };
    },

    getState: async ({ kind }) => ({ kind, state: this.#current() }),

    step: async ({ kind, feeds, lr, seed }) => {
      const given = this.#feeds(feeds, [{ lr, seed }], []);
      const out = await this.#graphs.run('train', given, this.#stepOutputs());
      return { kind, ...this.#accept(out, this.#losses(out), [true]) };
    },

    steps: async ({ kind, feeds, settings, apply }) => {
      const dims = [settings.length];
      const given = this.#feeds(feeds, settings, dims);
      const applied = Uint8Array.from(apply, Number);
      given.set(this.#manifest.names.apply ?? 'lora_apply', { type: 'bool', data: applied, dims });
      const out = await this.#graphs.run('train_k', given, this.#stepOutputs());
      return { kind, ...this.#accept(out, this.#losses(out), apply) };
    },

    gather: async ({ kind, feeds, seed, first }) => {
      if (first) this.#gathered.clear();
      const { weight: weightName, grad } = this.#manifest.names;
      const given = this.#feeds(feeds, [{ lr: 0, seed }], []);
      const out = await this.#graphs.run('grad', given, [...this.#lossNames(), weightName, grad]);
      const weight = scalar(out, weightName);
      this.#gathered.add(out.floats(grad), weight);
      return { kind, loss: this.#loss(out), weight };
    },

    update: async ({ kind, lr }) => {
      const { grad_norm: norm, grad: gradName } = this.#manifest.names;
      const given = this.#feeds({}, [{ lr, seed: 0 }], []);
      const grad = this.#gathered.take();
      given.set(gradName, floats(grad, [grad.length]));
      const out = await this.#graphs.run('update', given, [norm, ...this.#nextNames()]);
      return { kind, ...this.#accept(out, undefined, [true]) };
    },

    evaluate: async ({ kind, feeds, outputs }) => {
      const { weight } = this.#manifest.names;
      const given = this.#stateFeeds(feeds);
      const out = await this.#graphs.run('eval', given, [...this.#lossNames(), weight, ...outputs]);
      const tensors = Object.fromEntries(outputs.map((name) => [name, out.tensor(name)]));
      return { kind, loss: this.#loss(out), weight: scalar(out, weight), outputs: tensors };
    },
  };

  #current(): TrainingState {
    if (this.#state === undefined) throw new Error('no state was set');
    return this.#state;
  }

  /** A batch and the state. */
  #stateFeeds(batch: Feeds): TensorMap {
    const { params, m, v, step, lossScale } = this.#current();
    const { state } = this.#manifest;
    const feeds = new Map(Object.entries(batch));
    feeds.set(state.params[0], floats(params, [params.length]));
    feeds.set(state.m[0], floats(m, [m.length]));
    if (state.v !== undefined && v !== undefined) feeds.set(state.v[0], floats(v, [v.length]));
    if (state.lossScale !== undefined && lossScale !== undefined)
      feeds.set(state.lossScale[0], floats(Float32Array.of(lossScale), []));
    return feeds.set(state.step[0], floats(Float32Array.of(step), []));
  }

  /** A batch, the state, and the settings of one step (`dims` empty) or of several. */
  #feeds(batch: Feeds, settings: readonly StepSettings[], dims: readonly number[]): TensorMap {
    const feeds = this.#stateFeeds(batch);
    const { state, names } = this.#manifest;
    const rates = Float32Array.from(settings, (s) => s.lr);
    feeds.set(state.lr, floats(rates, dims));
    if (names.seed !== undefined) {
      const seeds = Int32Array.from(settings, (s) => s.seed);
      feeds.set(names.seed, { type: 'int32', data: seeds, dims });
    }
    return feeds;
  }

  /** The loss that graphs give; none where the caller computes it. */
  #lossNames(): string[] {
    const { loss, names } = this.#manifest;
    return reportsLoss(loss) ? [names.loss] : [];
  }

  #losses(out: Run): Float32Array | undefined {
    const [name] = this.#lossNames();
    return name === undefined ? undefined : out.floats(name);
  }

  #loss(out: Run): number {
    return this.#losses(out)?.[0] ?? Number.NaN;
  }

  #nextNames(): string[] {
    const { params, m, v, step, lossScale } = this.#manifest.state;
    return [params, m, v, step, lossScale].flatMap((pair) => (pair === undefined ? [] : [pair[1]]));
  }

  #stepOutputs(): string[] {
    return [...this.#lossNames(), this.#manifest.names.grad_norm, ...this.#nextNames()];
  }

  /**
   * The results of a run that took optimizer steps; its state is kept if every number is finite or its step skipped.
   */
  #accept(out: Run, losses: ArrayLike<number> | undefined, applied: readonly boolean[]): RunResult {
    const { lossScale } = this.#manifest.state;
    const norms = out.floats(this.#manifest.names.grad_norm);
    const found = Array.from(norms, (gradNorm, i) => ({ loss: losses?.[i] ?? Number.NaN, gradNorm }));
    const steps = withLossScale(found, applied, this.#manifest, this.#current());
    const finite = steps.every(
      ({ loss, gradNorm, skipped }, i) =>
        (Number.isFinite(gradNorm) || skipped === true || (lossScale !== undefined && applied[i] === false)) &&
        (losses === undefined || Number.isFinite(loss)),
    );
    if (finite) this.#state = this.#nextState(out);
    return { steps, finite };
  }

  #nextState(out: Run): TrainingState {
    const { params, m, v, step, lossScale } = this.#manifest.state;
    return {
      params: out.floats(params[1]),
      m: out.floats(m[1]),
      v: v === undefined ? undefined : out.floats(v[1]),
      step: scalar(out, step[1], Number.NaN),
      lossScale: lossScale === undefined ? undefined : out.floats(lossScale[1])[0],
    };
  }
}

const floats = (data: Float32Array, dims: readonly number[]): BatchTensor => ({ type: 'float32', data, dims });

const scalar = (out: Run, name: string, absent = 0): number => out.floats(name)[0] ?? absent;
