/** The graphs of one package as sessions of onnxruntime-node: opened when they are first needed, run by name. */

import { join } from 'node:path';
import type { InferenceSession, Tensor } from 'onnxruntime-node';
import { badPackage, LoraifyError, runtimeFailed } from '../../errors.ts';
import type { GraphKind } from '../../formats/manifest.ts';
import { isKey } from '../../graph/choices/choice.ts';
import { graphs, targets } from '../../graph/choices/compile.ts';
import { isUnpacked } from '../../graph/packing.ts';
import { isElementType } from '../data/convert.ts';
import type { BatchTensor } from '../data/index.ts';
import { type NodePlacement, profilePrefix, takePlacement } from '../session/nodePlacement.ts';
import { type Ort, onnxRuntime, openSession, ortReason } from '../session/session.ts';
import type { Opening } from './protocol.ts';

/** The outputs of one run. Errors: RUNTIME_FAILED for an output that is missing or of another type. */
export interface Run {
  floats(name: string): Float32Array;
  tensor(name: string): BatchTensor;
}

export class GraphSessions {
  readonly #ort: Ort;
  readonly #opening: Opening;
  readonly #sessions = new Map<GraphKind, Promise<InferenceSession>>();
  /** Graphs whose first run is to come. */
  readonly #profiled = new Set<GraphKind>();
  #placement: NodePlacement | undefined;

  private constructor(ort: Ort, opening: Opening) {
    this.#ort = ort;
    this.#opening = opening;
  }

  /** Loads ONNX Runtime, but no graph. Errors: RUNTIME_FAILED. */
  static async open(opening: Opening): Promise<GraphSessions> {
    return new GraphSessions(await onnxRuntime(), opening);
  }

  /** The providers of the nodes in the first run of the graph that took the last step; undefined without profiles. */
  get placement(): NodePlacement | undefined {
    return this.#placement;
  }

  /** The session of a graph. Errors: BAD_PACKAGE for a graph that the package lacks, RUNTIME_FAILED. */
  async session(graph: GraphKind): Promise<InferenceSession> {
    const known = this.#sessions.get(graph);
    if (known !== undefined) return known;
    await this.#releaseTwin(graph);
    const opened = this.#open(graph);
    this.#sessions.set(graph, opened);
    try {
      return await opened;
    } catch (error) {
      throw this.#compiledForAnother(error) ?? error;
    }
  }

  /** Feeds the inputs that the graph has; it lacks those that nothing in it depends on. Errors: as session. */
  async run(graph: GraphKind, feeds: ReadonlyMap<string, BatchTensor>, outputs: readonly string[]): Promise<Run> {
    const session = await this.session(graph);
    const given: Record<string, Tensor> = {};
    for (const name of session.inputNames) {
      const tensor = feeds.get(name);
      if (tensor === undefined) throw runtimeFailed(`the ${graph} graph has an input "${name}" that nothing feeds`);
      given[name] = new this.#ort.Tensor(tensor.type, tensor.data, tensor.dims);
    }
    try {
      const results = await session.run(given, outputs);
      await this.#takeProfile(graph, session);
      return runOf(results, graph);
    } catch (error) {
      if (error instanceof LoraifyError) throw error;
      throw runtimeFailed(`the ${graph} graph: ${ortReason(error)}`, this.#opening.manifest.graphs[graph]);
    }
  }

  #open(graph: GraphKind): Promise<InferenceSession> {
    const { directory, manifest, provider, threads, profiles } = this.#opening;
    const file = manifest.graphs[graph];
    if (file === undefined) throw badPackage(`the package has no ${graph} graph; compile with --emit all`, directory);
    const disablePrepacking = isUnpacked(manifest.counts.total);
    const profile = profiles !== undefined && graphs[graph].backward ? profilePrefix(profiles, graph) : undefined;
    if (profile !== undefined) this.#profiled.add(graph);
    return openSession(join(directory, file), { provider, threads, disablePrepacking, profile });
  }

  /** On a device each session has its own copy of the weights, so only one of train and train_k stays open. */
  async #releaseTwin(graph: GraphKind): Promise<void> {
    const twin = graph === 'train' ? 'train_k' : graph === 'train_k' ? 'train' : undefined;
    const idle = this.#opening.provider === 'cpu' || twin === undefined ? undefined : this.#sessions.get(twin);
    if (idle === undefined || twin === undefined) return;
    this.#sessions.delete(twin);
    await (await idle).release();
  }

  /** A graph that was made for another provider has operators that this one lacks. */
  #compiledForAnother(error: unknown): Error | undefined {
    const { manifest, provider } = this.#opening;
    const { for: target = 'portable' } = manifest;
    if (!(error instanceof LoraifyError) || target === 'portable' || target === provider) return undefined;
    const { message, file } = error;
    return runtimeFailed(
      message,
      file,
      `the package is compiled --for ${target}: run it with --ep ${target}, or compile again with --for ${portableFor(provider)}`,
    );
  }

  /** The first run of a profiled graph ends its profile. */
  async #takeProfile(graph: GraphKind, session: InferenceSession): Promise<void> {
    const { profiles } = this.#opening;
    if (!this.#profiled.delete(graph) || profiles === undefined) return;
    session.endProfiling();
    this.#placement = await takePlacement(profiles, graph).catch(() => undefined);
  }
}

/** The value for --for if there is none for the provider itself. */
const portableFor = (provider: string): string => (isKey(targets, provider) ? provider : 'portable');

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
