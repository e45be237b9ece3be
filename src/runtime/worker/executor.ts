/**
 * Runs the graphs of one package and updates its trainable state. In the worker, because `run` of onnxruntime-node
 * blocks its thread.
 *
 * The state is fed as inputs and returned in separate buffers that onnxruntime-node has copied, so no buffer is ever
 * fed and fetched at once (which would corrupt the state silently), and the state before a run is kept until the new
 * one is accepted.
 */

import { join } from 'node:path';
import type { InferenceSession, Tensor } from 'onnxruntime-node';
import { badPackage, LoraifyError, runtimeFailed } from '../../errors.ts';
import type { GraphKind } from '../../formats/manifest.ts';
import { isUnpacked } from '../../graph/packing.ts';
import { isElementType } from '../data/convert.ts';
import type { BatchTensor } from '../data/index.ts';
import { type NodePlacement, profilePrefix, takePlacement } from '../session/nodePlacement.ts';
import { onnxRuntime, openSession, ortReason } from '../session/session.ts';
import { gatheredGradient } from './gatheredGradient.ts';
import { withLossScale } from './lossScale.ts';
import type { Feeds, OutputInfo, Request, Result, RunResult, StepSettings, TrainingState } from './protocol.ts';

/** Graphs whose node placement is recorded. */
const takesSteps: ReadonlySet<GraphKind> = new Set(['train', 'train_k', 'grad']);

type Opening = Extract<Request, { kind: 'open' }>;

export interface Executor {
  /** Errors: BAD_PACKAGE for a graph that the package lacks, RUNTIME_FAILED. */
  handle(request: Exclude<Request, Opening>): Promise<Result>;
}

export async function createExecutor({ directory, manifest, provider, threads, profiles }: Opening): Promise<Executor> {
  const ort = await onnxRuntime();
  const sessions = new Map<GraphKind, Promise<InferenceSession>>();
  const gathered = gatheredGradient(manifest.state.size);
  const names = manifest.names;
  const lossName = manifest.loss?.kind === 'external' ? undefined : names.loss;
  let current: TrainingState | undefined;
  /** Graphs that have not run yet. */
  const profiled = new Set<GraphKind>();
  let placement: NodePlacement | undefined;

  const session = async (graph: GraphKind): Promise<InferenceSession> => {
    const known = sessions.get(graph);
    if (known !== undefined) return known;
    // On a device each session has its own copy of the weights.
    const other = graph === 'train' ? 'train_k' : graph === 'train_k' ? 'train' : undefined;
    const idle = provider === 'cpu' || other === undefined ? undefined : sessions.get(other);
    if (idle !== undefined && other !== undefined) {
      sessions.delete(other);
      await (await idle).release();
    }
    const file = manifest.graphs[graph];
    if (file === undefined) {
      throw badPackage(`the package has no ${graph} graph; compile with --emit all`, directory);
    }
    const disablePrepacking = isUnpacked(manifest.counts.total);
    const profile = profiles !== undefined && takesSteps.has(graph) ? profilePrefix(profiles, graph) : undefined;
    if (profile !== undefined) profiled.add(graph);
    const opened = openSession(join(directory, file), { provider, threads, disablePrepacking, profile });
    sessions.set(graph, opened);
    try {
      return await opened;
    } catch (error) {
      throw forAnother(error) ?? error;
    }
  };

  /** A graph made for another provider has operators that this one lacks. */
  const forAnother = (error: unknown): Error | undefined => {
    const { for: target = 'portable' } = manifest;
    if (!(error instanceof LoraifyError) || target === 'portable' || target === provider) return undefined;
    const { message, file } = error;
    return runtimeFailed(
      message,
      file,
      `the package is compiled --for ${target}: run it with --ep ${target}, or compile again with --for ${portableFor(provider)}`,
    );
  };

  /** Feeds exactly the inputs of the graph; a graph lacks inputs that its outputs do not depend on. */
  const run = async (
    graph: GraphKind,
    feeds: ReadonlyMap<string, Tensor>,
    outputs: readonly string[],
  ): Promise<Run> => {
    const s = await session(graph);
    const given: Record<string, Tensor> = {};
    for (const name of s.inputNames) {
      const tensor = feeds.get(name);
      if (tensor === undefined) throw runtimeFailed(`the ${graph} graph has an input "${name}" without a feed`);
      given[name] = tensor;
    }
    try {
      const results = await s.run(given, outputs);
      if (profiled.delete(graph) && profiles !== undefined) {
        s.endProfiling();
        placement = await takePlacement(profiles, graph).catch(() => undefined);
      }
      return runOf(results, graph);
    } catch (error) {
      if (error instanceof LoraifyError) throw error;
      throw runtimeFailed(`the ${graph} graph: ${ortReason(error)}`, manifest.graphs[graph]);
    }
  };

  const tensors = (feeds: Feeds): Map<string, Tensor> =>
    new Map(
      Object.entries(feeds).map(([name, tensor]) => [name, new ort.Tensor(tensor.type, tensor.data, tensor.dims)]),
    );
  const float = (values: Float32Array, dims: readonly number[]): Tensor => new ort.Tensor('float32', values, dims);
  const state = (): TrainingState => {
    if (current === undefined) throw new Error('no state was set');
    return current;
  };
  const stateFeeds = (feeds: Map<string, Tensor>): Map<string, Tensor> => {
    const { params, m, v, step, lossScale } = state();
    const { state: s } = manifest;
    feeds.set(s.params[0], float(params, [params.length]));
    feeds.set(s.m[0], float(m, [m.length]));
    if (s.v !== undefined && v !== undefined) feeds.set(s.v[0], float(v, [v.length]));
    if (s.lossScale !== undefined && lossScale !== undefined)
      feeds.set(s.lossScale[0], float(Float32Array.of(lossScale), []));
    return feeds.set(s.step[0], float(Float32Array.of(step), []));
  };
  const { params, m, v, step, lossScale } = manifest.state;
  const nextNames = [params, m, v, step, lossScale].flatMap((pair) => (pair === undefined ? [] : [pair[1]]));
  /**
   * The results of a run that took optimizer steps; its state is kept if every number is finite or its step was
   * skipped.
   */
  const accept = (out: Run, losses: ArrayLike<number> | undefined, applied: readonly boolean[]): RunResult => {
    const norms = out.floats(names.grad_norm);
    const found = Array.from(norms, (gradNorm, i) => ({
      loss: losses === undefined ? Number.NaN : (losses[i] ?? Number.NaN),
      gradNorm,
    }));
    const steps = withLossScale(found, applied, manifest, state());
    const finite = steps.every(
      ({ loss, gradNorm, skipped }, i) =>
        (Number.isFinite(gradNorm) || skipped === true || (lossScale !== undefined && applied[i] === false)) &&
        (losses === undefined || Number.isFinite(loss)),
    );
    if (finite) {
      current = {
        params: out.floats(params[1]),
        m: out.floats(m[1]),
        v: v === undefined ? undefined : out.floats(v[1]),
        step: out.floats(step[1])[0] ?? Number.NaN,
        lossScale: lossScale === undefined ? undefined : out.floats(lossScale[1])[0],
      };
    }
    return { steps, finite };
  };
  const stepOutputs = [...(lossName === undefined ? [] : [lossName]), names.grad_norm, ...nextNames];
  const settingFeeds = (
    feeds: Map<string, Tensor>,
    settings: readonly StepSettings[],
    dims: readonly number[],
  ): void => {
    feeds.set(
      manifest.state.lr,
      float(
        Float32Array.from(settings, (s) => s.lr),
        dims,
      ),
    );
    if (names.seed !== undefined) {
      feeds.set(
        names.seed,
        new ort.Tensor(
          'int32',
          Int32Array.from(settings, (s) => s.seed),
          dims,
        ),
      );
    }
  };

  return {
    async handle(request) {
      const { kind } = request;
      switch (kind) {
        case 'describe': {
          const { inputNames, outputMetadata } = await session(request.graph);
          const outputs = outputMetadata.flatMap((o): OutputInfo[] =>
            o.isTensor ? [{ name: o.name, type: o.type, shape: o.shape }] : [],
          );
          return { kind, inputs: [...inputNames], outputs };
        }
        case 'placement':
          return { kind, placement };
        case 'setState':
          current = request.state;
          gathered.clear();
          return { kind };
        case 'getState':
          return { kind, state: state() };
        case 'step': {
          const feeds = stateFeeds(tensors(request.feeds));
          settingFeeds(feeds, [request], []);
          const out = await run('train', feeds, stepOutputs);
          return { kind, ...accept(out, lossName === undefined ? undefined : out.floats(lossName), [true]) };
        }
        case 'steps': {
          const feeds = stateFeeds(tensors(request.feeds));
          const count = request.settings.length;
          settingFeeds(feeds, request.settings, [count]);
          feeds.set(
            names.apply ?? 'lora_apply',
            new ort.Tensor('bool', Uint8Array.from(request.apply, Number), [count]),
          );
          const out = await run('train_k', feeds, stepOutputs);
          return { kind, ...accept(out, lossName === undefined ? undefined : out.floats(lossName), request.apply) };
        }
        case 'gather': {
          if (request.first) gathered.clear();
          const feeds = stateFeeds(tensors(request.feeds));
          settingFeeds(feeds, [{ lr: 0, seed: request.seed }], []);
          const out = await run('grad', feeds, [
            ...(lossName === undefined ? [] : [lossName]),
            names.weight,
            names.grad,
          ]);
          const weight = out.floats(names.weight)[0] ?? 0;
          gathered.add(out.floats(names.grad), weight);
          return { kind, loss: lossName === undefined ? Number.NaN : (out.floats(lossName)[0] ?? Number.NaN), weight };
        }
        case 'update': {
          const feeds = stateFeeds(new Map());
          settingFeeds(feeds, [{ lr: request.lr, seed: 0 }], []);
          const grad = gathered.take();
          feeds.set(names.grad, float(grad, [grad.length]));
          return { kind, ...accept(await run('update', feeds, [names.grad_norm, ...nextNames]), undefined, [true]) };
        }
        case 'evaluate': {
          const feeds = stateFeeds(tensors(request.feeds));
          const scalars = [...(lossName === undefined ? [] : [lossName]), names.weight];
          const out = await run('eval', feeds, [...scalars, ...request.outputs]);
          return {
            kind,
            loss: lossName === undefined ? Number.NaN : (out.floats(lossName)[0] ?? Number.NaN),
            weight: out.floats(names.weight)[0] ?? 0,
            outputs: Object.fromEntries(request.outputs.map((name) => [name, out.tensor(name)])),
          };
        }
      }
    },
  };
}

/** The value for --for if there is none for the provider itself. */
const portableFor = (provider: string): string =>
  provider === 'cpu' || provider === 'cuda' || provider === 'webgpu' ? provider : 'portable';

/** The outputs of one run. */
interface Run {
  floats(name: string): Float32Array;
  tensor(name: string): BatchTensor;
}

function runOf(outputs: InferenceSession.OnnxValueMapType, graph: GraphKind): Run {
  const tensor = (name: string): BatchTensor => {
    const value = outputs[name];
    if (value === undefined) throw runtimeFailed(`the ${graph} graph has no output "${name}"`);
    const { type, dims, data } = value;
    if (!isElementType(type) || Array.isArray(data)) throw runtimeFailed(`output "${name}" has the type ${type}`);
    return { type, dims: [...dims], data };
  };
  return {
    tensor,
    floats(name) {
      const { data, type } = tensor(name);
      if (data instanceof Float32Array) return data;
      throw runtimeFailed(`output "${name}" of the ${graph} graph is ${type}, not float32`);
    },
  };
}
