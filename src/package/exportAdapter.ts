/** Exports adapters: as PEFT directories, as files for other programs, and as deployable models. */

import { dirname } from 'node:path';
import {
  changesBase,
  type PeftContent,
  type PeftLayer,
  type PortableTensor,
  packedLayers,
  writeNamedSafetensors,
  writeOnnxAdapter,
  writePeft,
} from '../adapter/index.ts';
import { createFile, createFolder, writeModelFile } from '../emit/index.ts';
import { badOption } from '../errors.ts';
import { defined } from '../formats/defined.ts';
import { type Manifest, type ManifestLayer, peftPath, readManifest } from '../formats/manifest.ts';
import { bytesOf } from '../formats/rawTensor.ts';
import { exportFormats } from '../graph/choices/package.ts';
import { factorShapes } from '../graph/layers.ts';
import type { Layer, Model } from '../graph/model.ts';
import { floatTensor, type Tensor } from '../graph/tensor.ts';
import {
  type AdaptContext,
  type Chosen,
  type OnPass,
  type Parameter,
  runStage,
  type ServeContext,
  serving,
} from '../passes/index.ts';
import { adapterLayers, adapterSaved, adapterSources, knownPaths } from './adapters.ts';
import { chosenAdapter } from './chosenAdapter.ts';
import { type ClassNames, classNames } from './classNames.ts';
import { carryConfig } from './configFile.ts';
import type { ExportOptions, ExportResult, ServeOptions } from './exportOptions.ts';
import { typedTensor } from './modulesToSave.ts';
import { checkRounded, likeCompile, openSource, packageCandidates, packageParameters } from './open.ts';
import { ignoredModules, moduleOf, otherRoot, packedModulesOf } from './peftModules.ts';
import { servable } from './servable.ts';
import { stateVector, timesFactor } from './stateVector.ts';

/**
 * Writes an adapter of a package in the form of another tool. Nothing that exists is replaced without `force`.
 *
 * `peft`          a directory that `PeftModel.from_pretrained` loads
 * `onnx_adapter`  ONNX Runtime's adapter file; tensors named as the manifest's A [in, r] and B [r, out], the scale
 * multiplied into B `safetensors`   the same tensors and names `onnx`          the source with branches: `baked` the
 * adapter is inside; `required` A and B are inputs (JavaScript; rank 0 gives the
 *                 base model); `optional` inputs with rank-0 defaults (ONNX Runtime's adapter API)
 *
 * Errors: BAD_PACKAGE, BAD_OPTION, SOURCE_NEEDED, ADAPTER_MISMATCH and those of reading adapters, TARGET_EXISTS,
 * WRITE_FAILED.
 */
export async function exportAdapter(packageDir: string, options: ExportOptions): Promise<ExportResult> {
  const { format, out } = options;
  const { isModel } = exportFormats[format];
  if (!isModel && (options.inputs !== undefined || options.strength === true))
    throw badOption(`--${options.inputs === undefined ? 'strength' : 'inputs'} is for --format onnx, not ${format}`);
  if (format !== 'peft' && options.prefix !== undefined)
    throw badOption(`--prefix is for --format peft, not ${format}`);
  if (!isModel && options.source !== undefined) throw badOption(`--source is for --format onnx, not ${format}`);
  const manifest = readManifest(packageDir);
  servable(manifest, options);
  // A model whose adapter is an input has no adapter inside.
  const isInside = !isModel || (options.inputs ?? 'baked') === 'baked';
  const chosen =
    isInside || options.adapter !== undefined ? chosenAdapter(packageDir, manifest, options.adapter) : undefined;
  const what = { ...options, adapter: chosen?.adapter };
  const notices = chosen?.notices ?? [];
  const adapter = {
    layers: adapterLayers(packageDir, manifest, what),
    saved: adapterSaved(packageDir, manifest, what),
  };
  const { layers, saved } = adapter;
  const target = { force: options.force ?? false, protect: [packageDir, ...adapterSources(packageDir, what)] };
  const common = { format, out, layers: layers.size };
  switch (format) {
    case 'peft': {
      const marked = { ...target, marker: 'adapter_config.json' };
      const names = classNames(manifest, options.prefix);
      const content = peftOf(manifest, adapter, names);
      await createFolder(out, marked, (folder) => writePeft(folder, content));
      const warnings = peftWarnings(packageDir, manifest, content);
      return { ...common, warnings: [...notices, ...names.warnings, ...warnings] };
    }
    case 'onnx_adapter':
      await createFile(out, target, (file) => writeOnnxAdapter(file, named(manifest, { layers, saved: new Map() })));
      return { ...common, warnings: saved.size === 0 ? notices : [...notices, headInside] };
    case 'safetensors':
      await createFile(out, target, (file) => writeNamedSafetensors(file, named(manifest, adapter)));
      return { ...common, warnings: notices };
    case 'onnx': {
      const inputs = options.inputs ?? 'baked';
      const notes: string[] = [];
      const made = await createFile(out, target, (file) => {
        notes.push(...carryConfig(packageDir, manifest, out, dirname(file)));
        return writeServed(packageDir, manifest, adapter, file, {
          inputs,
          strength: options.strength ?? false,
          source: options.source,
        });
      });
      const given = options.adapter !== undefined && inputs !== 'baked';
      const warnings = given
        ? [
            'the adapter is not in the model: its tensors are inputs; --format onnx_adapter writes them',
            ...(saved.size === 0 ? [] : [headInside]),
          ]
        : [];
      return { ...common, ...made, inputs, warnings: [...notices, ...notes, ...warnings] };
    }
  }
}

const headInside =
  'the head is in the model that --format onnx writes with the same --adapter: only A and B can be exchanged';

interface Adapter {
  readonly layers: ReadonlyMap<string, PeftLayer>;
  /** modules_to_save weights by the names of the manifest. */
  readonly saved: ReadonlyMap<string, Float32Array>;
}

/** The tensors of a layer's branch: A, and B with the scale multiplied in. */
function tensorsOf(layer: ManifestLayer, { A, B, rank, scale }: PeftLayer) {
  const shapes = factorShapes({ ...layer, rank });
  return {
    A: { dims: shapes.A, values: A },
    B: { dims: shapes.B, values: timesFactor(B, scale) },
  };
}

function named(manifest: Manifest, adapter: Adapter): Map<string, PortableTensor> {
  const tensors = new Map<string, PortableTensor>();
  const set = (name: string, dims: readonly number[], values: Float32Array): void => {
    tensors.set(name, { type: 'float32', dims, bytes: bytesOf(values) });
  };
  for (const layer of manifest.layers) {
    const { path, A, B, magnitude } = layer;
    const found = adapter.layers.get(path);
    if (found === undefined) continue;
    const made = tensorsOf(layer, found);
    set(A.name, made.A.dims, made.A.values);
    set(B.name, made.B.dims, made.B.values);
    if (magnitude !== undefined && found.magnitude !== undefined) set(magnitude.name, [layer.out], found.magnitude);
  }
  for (const { name, shape } of manifest.saved ?? []) {
    const values = adapter.saved.get(name);
    if (values !== undefined) set(name, shape, values);
  }
  return tensors;
}

async function writeServed(
  packageDir: string,
  manifest: Manifest,
  adapter: Adapter,
  file: string,
  options: ServeOptions & Pick<ExportOptions, 'source'>,
): Promise<{ dataFile?: string; strength?: string }> {
  const { model, source } = openSource(packageDir, manifest, options.source);
  try {
    checkRounded(packageDir, manifest, model);
    likeCompile(model, manifest);
    const chosen = served(model, manifest, adapter.layers);
    const whole = packageParameters(model, manifest);
    const content = new Map(whole.map(({ saved: s, parameter: p }) => [p, adapter.saved.get(s.name)]));
    const parameters = whole.map((w) => w.parameter);
    const contentOf = (p: Parameter): Tensor | undefined => {
      const values = content.get(p);
      return values === undefined ? undefined : typedTensor(p.tensor.dtype, p.tensor.dims, values);
    };
    const name = serve(model, chosen, options, { parameters, content: contentOf });
    const { dataFile } = await writeModelFile(model, file, { external: source.externalFiles.length > 0 });
    return defined({ dataFile, strength: name });
  } finally {
    source.close();
  }
}

/** The layers of a package with the adapter's content, for `serve`. */
function served(model: Model, manifest: Manifest, adapter: Adapter['layers']): Chosen[] {
  return packageCandidates(model, manifest).flatMap(({ layer, candidate }): Chosen[] => {
    const found = adapter.get(layer.path);
    if (found === undefined) return [];
    const { A, B } = tensorsOf(layer, found);
    return [
      defined({
        candidate,
        layer: servedLayer(layer, found),
        A: floatTensor(A.dims, A.values),
        B: floatTensor(B.dims, B.values),
        magnitude: found.magnitude && floatTensor([layer.out], found.magnitude),
      }),
    ];
  });
}

/** Converts the source to the deployed model, in place. Layers have scale 1. Returns the name of the strength input. */
export function serve(
  model: Model,
  chosen: readonly Chosen[],
  { inputs, strength }: ServeOptions,
  whole: Pick<AdaptContext, 'parameters' | 'content'> = { parameters: [], content: undefined },
  onPass?: OnPass,
): string | undefined {
  const c = { ...whole, model, chosen, inputs, strength, halfType: undefined, saved: [], stored: undefined };
  const context = { ...c, strengthName: undefined };
  runStage<ServeContext>(serving, context, onPass);
  return context.strengthName;
}

function servedLayer(layer: ManifestLayer, { rank }: PeftLayer): Layer {
  const { path, op, kernel, weight, layout, in: inputs, out } = layer;
  const shape = { op, kernel, in: inputs, out, rank };
  const names = { A: layer.A.name, B: layer.B.name, magnitude: layer.magnitude?.name };
  return { path, ...shape, weight, layout, alpha: rank, scale: 1, ...names };
}

/** The adapter with its own ranks and alphas. */
function peftOf(manifest: Manifest, { layers, saved: whole }: Adapter, names: ClassNames): PeftContent {
  const adapter = packedLayers(layers, packedModulesOf(manifest.source.family, layers.keys()));
  const all = [...adapter.values()];
  const agrees = (scaleOf: (l: PeftLayer) => number): boolean => all.every((l) => l.scale === scaleOf(l));
  const standard = agrees((l) => l.alpha / l.rank);
  const rslora = (!standard || manifest.lora.scaling === 'rslora') && agrees((l) => l.alpha / Math.sqrt(l.rank));
  let size = 0;
  const place = (values: Float32Array): { offset: number } => {
    const offset = size;
    size += values.length;
    return { offset };
  };
  const known = new Map(manifest.layers.map((l) => [l.path, l]));
  const placed = [...adapter].map(([path, l]) => {
    const places = defined({ A: place(l.A), B: place(l.B), magnitude: l.magnitude && place(l.magnitude) });
    const alpha = standard || rslora ? l.alpha : l.scale * l.rank;
    const { in: inputs, out, kernel, rank } = l;
    const own = known.get(path);
    const isOwn = own !== undefined && (l.module === undefined || l.module === peftPath(own));
    const name = isOwn ? names.layer(own) : names.other(l.module ?? path);
    return [{ path: name, op: own?.op ?? '', in: inputs, out, kernel, rank, alpha, ...places }, l] as const;
  });
  const saved = (manifest.saved ?? []).map((s) => {
    const values = whole.get(s.name) ?? new Float32Array(0);
    return [{ ...s, parameter: names.saved(s), ...place(values) }, values] as const;
  });
  const { dropout, peft: otherFields } = manifest.lora;
  // As a branch on the source's weights, it is plain LoRA.
  const init = changesBase(manifest.lora.init) ? 'kaiming' : manifest.lora.init;
  return {
    layers: placed.map(([layer]) => layer),
    params: stateVector(size, placed, saved),
    scaling: rslora ? 'rslora' : 'standard',
    knownPaths: knownPaths(manifest).map(names.known),
    dropout,
    init,
    otherFields: names.task === undefined ? otherFields : { task_type: names.task, ...otherFields },
    saved: saved.map(([weight]) => weight),
    modulesToSave: names.modulesToSave,
  };
}

/** Sentences about layers that PEFT will not find, or not compute as the graphs do. */
function peftWarnings(packageDir: string, manifest: Manifest, { layers, saved = [] }: PeftContent): string[] {
  const { nameless, folded } = doubtful(packageDir, manifest);
  const named = [...layers.map((l) => l.path), ...saved.map((s) => moduleOf(s.parameter))];
  const { family } = manifest.source;
  const rest = [...new Set(named)].filter((path) => !nameless.includes(path));
  const [names, constants] = [nameless, folded].map((paths) => paths.join(', '));
  return [
    ...(names === ''
      ? []
      : [`the file does not name the modules of these layers, so PEFT will not find them: ${names}`]),
    ...(constants === ''
      ? []
      : [
          `PEFT's model applies these modules to constants too, which the exporter stored without the adapter: its outputs will differ (${constants})`,
        ]),
    ...ignoredModules(family, rest),
    ...otherRoot(family, rest),
  ];
}

/** The paths of layers whose modules the file does not name, and of those with uses that are constants of the file. */
function doubtful(packageDir: string, manifest: Manifest): { nameless: string[]; folded: string[] } {
  const { model, source } = openSource(packageDir, manifest);
  try {
    likeCompile(model, manifest);
    const found = packageCandidates(model, manifest).map((c) => c.candidate);
    return {
      nameless: found.filter((c) => c.from === 'fallback').map((c) => c.path),
      folded: found.filter((c) => c.folded !== undefined).map((c) => c.path),
    };
  } finally {
    source.close();
  }
}
