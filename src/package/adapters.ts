/**
 * Matches adapters (one or several PEFT directories and adapter files) to the layers of a package and to the flat
 * state.
 */
import { join } from 'node:path';
import {
  type BaseCopy,
  beside,
  changesBase,
  combine,
  type PeftContent,
  type PeftLayer,
  peftKeysText,
  readPeft,
} from '../adapter/index.ts';
import { adapterMismatch, badOption, didYouMean } from '../errors.ts';
import { type Manifest, peftParameter, peftPath } from '../formats/manifest.ts';
import { onlyModule } from '../formats/peftPattern.ts';
import type { Combination } from '../graph/choices/package.ts';
import { layerOp } from '../graph/layers.ts';
import { findCandidates, findParameters } from '../passes/index.ts';
import { fitting, layersIn } from './adapterSource.ts';
import { checkBaseCopies } from './baseCopies.ts';
import { storedValues } from './modulesToSave.ts';
import { likeCompile, openSource } from './open.ts';
import { stateVector, timesFactor } from './stateVector.ts';

/** The initial adapter inside a package. */
export const adapterFolder = 'adapter';

/**
 * A PEFT directory or an adapter file (loraify's, ONNX Runtime's, or with kohya's keys); or several of them, each with
 * its strength.
 */
export type AdapterChoice = string | Readonly<Record<string, number>>;

export interface AdapterOptions {
  /** Absent: the package's own initial adapter. */
  readonly adapter?: AdapterChoice | undefined;
  /** The combination of several adapters; absent: `linear` if their ranks are equal, else `cat`. */
  readonly combination?: Combination | undefined;
}

/** The content of a PEFT directory of this package. `params` is the flat vector. */
export function peftContent(manifest: Manifest, params: Float32Array): PeftContent {
  const { layers, lora } = manifest;
  return {
    layers: layers.map((l) => ({ ...l, path: peftPath(l) })),
    params,
    scaling: lora.scaling,
    knownPaths: knownPaths(manifest),
    dropout: lora.dropout,
    init: lora.init,
    otherFields: lora.peft,
    saved: manifest.saved?.map((s) => ({ ...s, parameter: peftParameter(s) })),
    modulesToSave: lora.modulesToSave,
  };
}

/** Paths of all weighted modules, adapted or not, as PEFT's files have them. */
export function knownPaths({ layers, skipped }: Manifest): string[] {
  const left = skipped.flatMap((s) => (s.reason.includes(': ') ? [s.reason.slice(0, s.reason.indexOf(': '))] : []));
  const [from = '', to = ''] = layers.map(prefixes).find(([a, b]) => a !== b) ?? [];
  return [
    ...layers.map(peftPath),
    ...left.map((path) => (path.startsWith(from) ? to + path.slice(from.length) : path)),
  ];
}

/** The beginnings in which a layer's path and its path in PEFT's files differ. */
function prefixes(layer: Manifest['layers'][number]): [string, string] {
  const [own, peft] = [layer.path.split('.'), peftPath(layer).split('.')];
  while (own.length > 0 && peft.length > 0 && own.at(-1) === peft.at(-1)) {
    own.pop();
    peft.pop();
  }
  const prefix = (parts: readonly string[]): string => parts.map((p) => `${p}.`).join('');
  return [prefix(own), prefix(peft)];
}

/** The files and folders that a choice names. */
export function adapterSources(packageDir: string, { adapter }: AdapterOptions): string[] {
  if (adapter === undefined) return [join(packageDir, adapterFolder)];
  return typeof adapter === 'string' ? [adapter] : Object.keys(adapter);
}

/**
 * The layers of an adapter, or of a combination, in the order of the manifest: exactly the layers of the package. Ranks
 * and scales are the adapter's own. They are branches on the source's weights: an adapter of a package whose initial
 * factors are a part of the weights is converted (rank 2r). Errors: ADAPTER_MISMATCH, which names layers and shapes,
 * BAD_OPTION, and those of the readers.
 */
export function adapterLayers(packageDir: string, manifest: Manifest, options: AdapterOptions): Map<string, PeftLayer> {
  const { adapter, combination } = options;
  const sources = adapterSources(packageDir, options);
  const read = (source: string): Map<string, PeftLayer> => {
    const { layers, onSource, copies } = layersIn(manifest, source);
    checkBase(packageDir, manifest, copies, source);
    const fit = fitting(manifest, layers, source);
    return onSource ? fit : withStart(packageDir, manifest, sameStart(manifest, fit, source), -1);
  };
  const found =
    adapter === undefined || typeof adapter === 'string'
      ? read(sources[0] ?? '')
      : combine(
          Object.entries(adapter).map(([name, strength]) => {
            if (!Number.isFinite(strength)) throw badOption(`the strength of adapter "${name}" is ${strength}`);
            return { name, strength, layers: read(name) };
          }),
          combination,
        );
  return complete(manifest, found, sources.length === 1 ? sources[0] : undefined);
}

/** Compares weights of the base that an adapter has with those of the package's source. Errors: ADAPTER_MISMATCH. */
function checkBase(packageDir: string, manifest: Manifest, copies: ReadonlyMap<string, BaseCopy>, file: string): void {
  if (copies.size === 0) return;
  const { model, source } = openSource(packageDir, manifest);
  try {
    likeCompile(model, manifest);
    const { candidates } = findCandidates(model, new Set(manifest.layers.map((l) => l.path)));
    checkBaseCopies(findParameters(model, candidates), copies, file);
  } finally {
    source.close();
  }
}

/** In the order of the manifest, all present. `from` undefined: a combination. */
function complete(manifest: Manifest, found: ReadonlyMap<string, PeftLayer>, from?: string): Map<string, PeftLayer> {
  return new Map(
    manifest.layers.map(({ path, op }) => {
      const layer = found.get(path);
      if (layer === undefined)
        throw adapterMismatch(
          `layer "${path}" is missing in the adapter${from === undefined ? 's' : ''}: there is no ${peftKeysText(path, layerOp(op).form)}`,
          from,
        );
      return [path, layer];
    }),
  );
}

/**
 * Converts layers on the source's weights to layers on the weights of the package's graphs (factor 1), or the reverse
 * (-1): by adding or subtracting the initial branches, if these were subtracted from the weights.
 */
export function withStart(
  packageDir: string,
  manifest: Manifest,
  layers: ReadonlyMap<string, PeftLayer>,
  factor: 1 | -1,
): Map<string, PeftLayer> {
  if (!changesBase(manifest.lora.init)) return new Map(layers);
  const { tensors } = readPeft(join(packageDir, adapterFolder), manifest.lora.init);
  return new Map(
    [...layers].map(([path, layer]) => {
      const own = manifest.layers.find((l) => l.path === path);
      const start = tensors.get(own === undefined ? path : peftPath(own));
      // An embedding's initial branch is zero, so its table is unchanged.
      return [path, start === undefined || layer.form !== 'linear' ? layer : beside(layer, start, factor)];
    }),
  );
}

/** Layers whose initial factors must be those of the package, because they determine the residual weights. */
function sameStart(manifest: Manifest, layers: Map<string, PeftLayer>, source: string): Map<string, PeftLayer> {
  for (const { path, rank, scale } of manifest.layers) {
    const layer = layers.get(path);
    if (layer !== undefined && (layer.rank !== rank || layer.scale !== scale))
      throw adapterMismatch(
        `layer "${path}" has rank ${rank} and scale ${scale} in the package, ${layer.rank} and ${layer.scale} in the adapter: --init ${manifest.lora.init} took another part out of its weight`,
        source,
      );
  }
  return layers;
}

/**
 * The modules_to_save weights of an adapter: their values by the names of the manifest, in the model's layout. Errors:
 * ADAPTER_MISMATCH, which names tensors, also for a combination, and those of the readers.
 */
export function adapterSaved(
  packageDir: string,
  manifest: Manifest,
  options: AdapterOptions,
): Map<string, Float32Array> {
  const wanted = manifest.saved ?? [];
  const sources = adapterSources(packageDir, options);
  const [source = ''] = sources;
  if (sources.length > 1 && wanted.length > 0)
    throw adapterMismatch(
      `cannot combine adapters that contain full weights ("${wanted[0]?.parameter}", modules_to_save)`,
    );
  const found = new Map<string, Float32Array>();
  for (const one of sources)
    for (const [name, tensor] of layersIn(manifest, one).saved) {
      const weight = wanted.find((s) => peftParameter(s) === name) ?? onlyModule(wanted, (s) => s.parameter, name);
      if (weight === undefined || found.has(weight.name))
        throw adapterMismatch(
          `the package does not train a weight "${name}"${didYouMean(
            name,
            wanted.map((s) => s.parameter),
          )}`,
          one,
          'compile the model with this --adapter, or with --modules-to-save',
        );
      found.set(weight.name, storedValues(weight, tensor, one));
    }
  for (const s of wanted)
    if (!found.has(s.name))
      throw adapterMismatch(`"${s.parameter}" is missing in the adapter (modules_to_save of the package)`, source);
  return found;
}

const sumElsewhere =
  'graphs of a package have its own ranks: combine adapters of those ranks with --combination linear, or write the exact sum as a separate model with loraify merge or loraify export --format onnx';

/** The layers of an adapter on the weights of the package's graphs. */
function ownLayers(packageDir: string, manifest: Manifest, options: AdapterOptions): Map<string, PeftLayer> {
  const [source = '', ...more] = adapterSources(packageDir, options);
  const { init } = manifest.lora;
  if (!changesBase(init)) return adapterLayers(packageDir, manifest, options);
  if (more.length > 0)
    throw adapterMismatch(
      `these adapters apply to the original weights, which --init ${init} replaced in this package, so they cannot be summed here`,
      undefined,
      sumElsewhere,
    );
  const { layers, onSource, copies } = layersIn(manifest, source);
  checkBase(packageDir, manifest, copies, source);
  if (onSource)
    throw adapterMismatch(
      `the adapter applies to the original weights, which --init ${init} replaced in this package`,
      source,
      'compile the model with --adapter; merge and export accept this one unchanged',
    );
  return complete(manifest, sameStart(manifest, fitting(manifest, layers, source), source), source);
}

/**
 * The flat vector [P] of a package from an adapter, or a combination, whose ranks are the package's. Throws
 * ADAPTER_MISMATCH, which names layers.
 */
export function adapterParams(packageDir: string, manifest: Manifest, options: AdapterOptions): Float32Array {
  const sources = adapterSources(packageDir, options);
  const layers = ownLayers(packageDir, manifest, options);
  const placed = manifest.layers.map((l) => {
    const t = layers.get(l.path);
    if (t?.rank !== l.rank) {
      const ranks = `layer "${l.path}" has rank ${l.rank} in the package, rank ${t?.rank} in the`;
      throw sources.length > 1
        ? adapterMismatch(`${ranks} combination`, undefined, sumElsewhere)
        : adapterMismatch(`${ranks} adapter`, sources[0]);
    }
    // A different alpha means a different scale: it is folded into B, so that the branch computes the same.
    return [l, { ...t, B: timesFactor(t.B, t.scale / l.scale) }] as const;
  });
  const saved = adapterSaved(packageDir, manifest, options);
  const whole = (manifest.saved ?? []).map((s) => [s, saved.get(s.name) ?? new Float32Array(0)] as const);
  return stateVector(manifest.state.size, placed, whole);
}
