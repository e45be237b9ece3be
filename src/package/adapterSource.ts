/**
 * Reads one adapter from disk: a PEFT directory, or a file whose tensors have the manifest's names; fitted to a
 * package.
 */
import { statSync } from 'node:fs';
import {
  openKohya,
  type PeftAdapter,
  type PeftLayer,
  type PortableTensor,
  peftKeysText,
  readPeft,
  readPortable,
  toFloats,
  unpackedLayers,
} from '../adapter/index.ts';
import { adapterMismatch, didYouMean } from '../errors.ts';
import { defined } from '../formats/defined.ts';
import { type Manifest, type ManifestLayer, peftPath } from '../formats/manifest.ts';
import { matchingModule } from '../formats/peftPattern.ts';
import { bytesOf, type RawTensor } from '../formats/rawTensor.ts';
import { factorShapes, layerOp, rankAxes, transposed, weightText } from '../graph/layers.ts';

export interface Source {
  readonly layers: ReadonlyMap<string, PeftLayer>;
  /** Full weights by parameter, in torch's layout. */
  readonly saved: ReadonlyMap<string, RawTensor>;
  /** Weights of the base, by parameter. */
  readonly copies: PeftAdapter['copies'];
  /** Whether the layers apply to the source's weights, or, if the package's init changed them, to the changed ones. */
  readonly onSource: boolean;
}

/** The layers in a PEFT directory, or in a file whose tensors have the manifest's names of A and B. */
export function layersIn(manifest: Manifest, source: string): Source {
  if (statSync(source, { throwIfNoEntry: false })?.isFile() !== true) {
    const { tensors, changedBase, saved, copies } = readPeft(source, manifest.lora.init);
    const named = new Map([...tensors].map(([path, layer]) => [path, { ...layer, module: path }]));
    const layers = unpackedLayers(named, manifest.layers);
    return { layers, saved, copies, onSource: changedBase === undefined };
  }
  const kohya = openKohya(source);
  if (kohya !== undefined)
    return {
      layers: kohya.layersFor(manifest.layers).layers,
      saved: kohya.saved,
      copies: kohya.copies,
      onSource: true,
    };
  const tensors = new Map(readPortable(source));
  const layers = new Map<string, PeftLayer>();
  const take = (name: string): PortableTensor | undefined => {
    const tensor = tensors.get(name);
    tensors.delete(name);
    return tensor;
  };
  for (const l of manifest.layers) {
    const [A, B] = [take(l.A.name), take(l.B.name)];
    if (A === undefined && B === undefined) continue;
    if (A === undefined || B === undefined)
      throw adapterMismatch(`there is no tensor "${A === undefined ? l.A.name : l.B.name}"`, source);
    const m = l.magnitude === undefined ? undefined : take(l.magnitude.name);
    layers.set(l.path, { ...pair(l, A, B, source), ...defined({ magnitude: m && toFloats(m) }) });
  }
  const saved = new Map<string, RawTensor>();
  for (const s of manifest.saved ?? []) {
    const tensor = take(s.name);
    const lying = tensor === undefined ? undefined : toFloats(tensor);
    if (tensor === undefined || lying === undefined) continue;
    // Such files have weights in the model's layout.
    const [rows = 1, columns = 1] = tensor.dims;
    const turned = s.turned === true && tensor.dims.length === 2;
    const values = turned ? transposed(lying, rows, columns) : lying;
    const shape = turned ? [columns, rows] : [...tensor.dims];
    saved.set(s.parameter, { dtype: 'F32', shape, data: bytesOf(values) });
  }
  const [unknown] = tensors.keys();
  if (unknown !== undefined) {
    const names = [...manifest.layers.flatMap((l) => [l.A, l.B]), ...(manifest.saved ?? [])].map((t) => t.name);
    throw adapterMismatch(`the package has no tensor "${unknown}"${didYouMean(unknown, names)}`, source);
  }
  return { layers, saved, copies: new Map(), onSource: true };
}

function pair(layer: ManifestLayer, a: PortableTensor, b: PortableTensor, source: string): PeftLayer {
  const axes = rankAxes(layer.op);
  const rank = a.dims[axes.A] ?? 0;
  const wanted = factorShapes({ ...layer, rank });
  if (a.dims.join() !== wanted.A.join() || b.dims.join() !== wanted.B.join()) {
    const text = (dims: readonly number[], axis: number): string =>
      `[${dims.map((d, i) => (i === axis ? 'r' : d)).join(', ')}]`;
    throw adapterMismatch(
      `layer "${layer.path}" has A [${a.dims.join(', ')}] and B [${b.dims.join(', ')}], which are not ${text(wanted.A, axes.A)} and ${text(wanted.B, axes.B)}`,
      source,
    );
  }
  // The scale is multiplied into B.
  const { op, in: inputs, out, kernel } = layer;
  const { form } = layerOp(op);
  return { form, in: inputs, out, kernel, rank, alpha: rank, scale: 1, A: toFloats(a), B: toFloats(b) };
}

/** The layers by the manifest's paths, with shapes checked. */
export function fitting(
  manifest: Manifest,
  layers: ReadonlyMap<string, PeftLayer>,
  source: string,
): Map<string, PeftLayer> {
  const found = new Map<string, PeftLayer>();
  for (const [path, layer] of layers) {
    const alike = manifest.layers.filter((l) => layerOp(l.op).form === layer.form);
    const known =
      alike.find((l) => peftPath(l) === path) ?? matchingModule(alike, path) ?? matchingModule(manifest.layers, path);
    if (known === undefined)
      throw adapterMismatch(
        `the package has no layer for ${peftKeysText(path, layer.form)}${didYouMean(
          path,
          manifest.layers.map((l) => l.path),
        )}`,
        source,
      );
    if (found.has(known.path)) throw adapterMismatch(`two layers of the adapter fit layer "${known.path}"`, source);
    const own = weightText({ ...known, form: layerOp(known.op).form });
    if (own !== weightText(layer))
      throw adapterMismatch(
        `layer "${known.path}" is ${own} in the package, ${weightText(layer)} in the adapter (${peftKeysText(path, layer.form)})`,
        source,
      );
    const { magnitude: m } = layer;
    if ((m === undefined) !== (known.magnitude === undefined))
      throw adapterMismatch(
        `layer "${known.path}" ${m === undefined ? 'has a magnitude (DoRA) in the package, none' : 'has no magnitude in the package, one (DoRA)'} in the adapter`,
        source,
        `compile the model with this --adapter, or ${m === undefined ? 'without' : 'with'} --dora`,
      );
    if (m !== undefined && m.length !== known.out)
      throw adapterMismatch(`the magnitude of layer "${known.path}" has ${m.length} numbers, not ${known.out}`, source);
    found.set(known.path, layer);
  }
  return found;
}
