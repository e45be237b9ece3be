/**
 * Adapters at run time: the feeds of an exported model (`--inputs required`), from the metadata of its session. Every
 * layer has its own rank axis whose symbol contains the module path (passes/lower/exposeAdapters.ts), so the session is
 * the only input. Runs in browsers too.
 */
import { adapterMismatch, badOption, didYouMean } from '../errors.ts';
import { matching } from '../formats/peftPattern.ts';
import { formShapes } from '../graph/layers.ts';
import { rankSymbol, strengthName } from '../graph/served.ts';
import { concatenated } from './concatenated.ts';
import type { PeftLayer } from './peftTensors.ts';
import { type PortableTensor, toFloats } from './portable.ts';

/** An adapter in memory. Plain data: it can be sent to a worker. */
export type Adapter =
  /** Tensors by the names of inputs; the scale is in B. */
  | { readonly kind: 'inputs'; readonly file?: string; readonly tensors: ReadonlyMap<string, PortableTensor> }
  /** Layers by module path. */
  | { readonly kind: 'modules'; readonly file?: string; readonly layers: ReadonlyMap<string, PeftLayer> }
  /** The sum of the branches of other adapters. */
  | { readonly kind: 'sum'; readonly parts: readonly Weighted[] };

export interface Weighted {
  readonly adapter: Adapter;
  /** Default 1. */
  readonly strength?: number;
}

/** One entry of a session's `inputMetadata`. */
export interface InputMetadata {
  readonly name: string;
  readonly type?: string;
  readonly shape?: readonly (number | string)[];
}

/** The properties of a tensor that ONNX Runtime's `run` reads. */
export interface PlainTensor {
  readonly type: 'float32';
  readonly dims: readonly number[];
  readonly data: Float32Array;
  readonly location: 'cpu';
}

/** The class `Tensor` of onnxruntime-node or onnxruntime-web. */
export type TensorClass<T> = new (type: 'float32', data: Float32Array, dims: readonly number[]) => T;

export interface FeedOptions {
  /**
   * A factor on the whole adapter; default 1. It is fed to the model's own strength input if there is one, else
   * multiplied into B.
   */
  readonly strength?: number;
}

/** An input of the model for A or B of a layer. */
interface Slot {
  readonly name: string;
  /** Sizes; the rank axis has none. */
  readonly shape: readonly (number | string)[];
  readonly axis: number;
}

interface ServedLayer {
  readonly path: string;
  readonly A: Slot;
  readonly B: Slot;
}

interface ServedModel {
  readonly layers: readonly ServedLayer[];
  readonly strength: string | undefined;
}

/** A branch in the layout of its slots: the weight update is scale · A·B. */
interface Branch {
  readonly A: Dense;
  readonly B: Dense;
  readonly scale: number;
}

interface Dense {
  readonly dims: readonly number[];
  readonly data: Float32Array;
}

/** Groups the inputs by layer. Errors: BAD_OPTION if no input belongs to an adapter. */
function servedModel(inputs: readonly InputMetadata[]): ServedModel {
  const slots = new Map<string, Slot[]>();
  let strength: string | undefined;
  for (const { name, type, shape = [] } of inputs) {
    // The last match, because loraify adds its input after the model's own.
    if (type === 'float32' && shape.length === 0 && name.startsWith(strengthName)) strength = name;
    const axis = shape.findIndex((d) => typeof d === 'string' && d.startsWith(rankSymbol));
    if (axis < 0) continue;
    const path = String(shape[axis]).slice(rankSymbol.length);
    if (type !== 'float32') throw badOption(`the input "${name}" is ${type}; adapters are fed as float32`);
    slots.set(path, [...(slots.get(path) ?? []), { name, shape, axis }]);
  }
  const layers = [...slots].map(([path, [A, B, ...others]]): ServedLayer => {
    // A precedes B, in the order of the export.
    if (A === undefined || B === undefined || others.length > 0)
      throw badOption(`the layer "${path}" does not have two inputs, A and B`);
    return { path, A, B };
  });
  if (layers.length === 0)
    throw badOption(
      'no input of the session belongs to an adapter',
      'use a model written by loraify export --format onnx --inputs required, and pass its session.inputMetadata',
    );
  return { layers, strength };
}

/** The branches by module path of the model; every tensor has been checked against its slot. */
function branches(adapter: Adapter, model: ServedModel, factor: number): Map<string, Branch[]> {
  switch (adapter.kind) {
    case 'inputs':
      return fromInputs(adapter.tensors, model, factor, adapter.file);
    case 'modules':
      return fromModules(adapter.layers, model, factor, adapter.file);
    case 'sum': {
      const all = new Map<string, Branch[]>();
      for (const { adapter: part, strength = 1 } of adapter.parts)
        for (const [path, found] of branches(part, model, factor * finite(strength)))
          all.set(path, [...(all.get(path) ?? []), ...found]);
      return all;
    }
  }
}

function fromInputs(
  tensors: ReadonlyMap<string, PortableTensor>,
  { layers }: ServedModel,
  scale: number,
  file: string | undefined,
): Map<string, Branch[]> {
  const names = layers.flatMap(({ A, B }) => [A.name, B.name]);
  for (const name of tensors.keys())
    if (!names.includes(name))
      throw adapterMismatch(`the model has no input "${name}"${didYouMean(name, names)}`, file);
  const found = new Map<string, Branch[]>();
  for (const { path, A, B } of layers) {
    const [a, b] = [tensors.get(A.name), tensors.get(B.name)];
    if (a === undefined && b === undefined) continue;
    if (a === undefined || b === undefined)
      throw adapterMismatch(`there is no tensor "${a === undefined ? A.name : B.name}"`, file);
    const dense = (t: PortableTensor): Dense => ({ dims: t.dims, data: toFloats(t) });
    found.set(path, [fitting(path, { A, B }, { A: dense(a), B: dense(b), scale }, file)]);
  }
  return found;
}

function fromModules(
  modules: ReadonlyMap<string, PeftLayer>,
  { layers }: ServedModel,
  factor: number,
  file: string | undefined,
): Map<string, Branch[]> {
  const found = new Map<string, Branch[]>();
  for (const [path, layer] of modules) {
    const slots = matching(layers, path);
    if (slots === undefined) {
      const near = didYouMean(
        path,
        layers.map((l) => l.path),
      );
      throw adapterMismatch(`the model has no layer "${path}"${near}`, file);
    }
    if (found.has(slots.path)) throw adapterMismatch(`two layers of the adapter fit layer "${slots.path}"`, file);
    const shapes = formShapes(layer.form, layer);
    const branch = {
      A: { dims: shapes.A, data: layer.A },
      B: { dims: shapes.B, data: layer.B },
      scale: layer.scale * factor,
    };
    found.set(slots.path, [fitting(slots.path, slots, branch, file)]);
  }
  return found;
}

/** Checks a branch. Throws ADAPTER_MISMATCH if a shape differs from the slot's, or the ranks differ. */
function fitting(path: string, slots: Pick<ServedLayer, 'A' | 'B'>, branch: Branch, file: string | undefined): Branch {
  for (const part of ['A', 'B'] as const) {
    const { shape, axis } = slots[part];
    const { dims } = branch[part];
    if (dims.length !== shape.length || dims.some((d, i) => i !== axis && d !== shape[i]))
      throw adapterMismatch(
        `${part} of layer "${path}" is [${shape.map((d, i) => (i === axis ? 'r' : d)).join(', ')}] in the model, [${dims.join(', ')}] in the adapter`,
        file,
      );
  }
  const [a, b] = [branch.A.dims[slots.A.axis], branch.B.dims[slots.B.axis]];
  if (a !== b) throw adapterMismatch(`layer "${path}" has rank ${a} in A and rank ${b} in B`, file);
  return branch;
}

function finite(strength: number): number {
  if (!Number.isFinite(strength)) throw badOption(`the strength ${strength} is not a finite number`);
  return strength;
}

/**
 * Concatenates along the rank axis; without parts, an empty tensor. The arrays are new, because ONNX Runtime may
 * transfer them to a worker.
 */
function filled({ shape, axis }: Slot, parts: readonly Dense[]): Dense {
  const sizes = shape.map((d, i) => (i === axis || typeof d === 'string' ? 0 : d));
  return concatenated(sizes, axis, parts);
}

/**
 * The feeds of a model that has its adapter as inputs: A and B of every layer, and the strength if it is an input. A
 * layer that the adapter does not have gets rank 0, which leaves the base unchanged. Add the model's own inputs and
 * run.
 *
 * @param adapter undefined: the base model
 * @param inputs `session.inputMetadata` of onnxruntime-node or onnxruntime-web Errors: BAD_OPTION (no such inputs, a
 * strength that is not finite), ADAPTER_MISMATCH, which names layers and shapes.
 */
export function feeds(
  adapter: Adapter | undefined,
  inputs: readonly InputMetadata[],
  { strength = 1 }: FeedOptions,
): Map<string, PlainTensor> {
  const model = servedModel(inputs);
  const given = finite(strength);
  const found =
    adapter === undefined
      ? new Map<string, Branch[]>()
      : branches(adapter, model, model.strength === undefined ? given : 1);
  const result = new Map<string, PlainTensor>();
  const put = (name: string, { dims, data }: Dense): void => {
    result.set(name, { type: 'float32', dims, data, location: 'cpu' });
  };
  for (const { path, A, B } of model.layers) {
    const parts = found.get(path) ?? [];
    put(
      A.name,
      filled(
        A,
        parts.map((m) => m.A),
      ),
    );
    // The scale is multiplied into B, as in an exported adapter file.
    put(
      B.name,
      filled(
        B,
        parts.map(({ B: { dims, data }, scale }) => ({ dims, data: scale === 1 ? data : data.map((x) => x * scale) })),
      ),
    );
  }
  if (model.strength !== undefined) put(model.strength, { dims: [], data: Float32Array.of(given) });
  return result;
}
