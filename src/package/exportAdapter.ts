/** Adapters out: as PEFT directories, as files for other programs, and as models that are ready to be served. */

import {
  changesBase,
  type PeftContent,
  type PeftLayer,
  type PortableTensor,
  writeNamedSafetensors,
  writeOnnxAdapter,
  writePeft,
} from '../adapter/index.ts';
import { createFile, createFolder, writeModelFile } from '../emit/index.ts';
import { badOption } from '../errors.ts';
import { type Manifest, type ManifestLayer, readManifest } from '../formats/manifest.ts';
import { factorShapes } from '../graph/layers.ts';
import type { Layer, Model } from '../graph/model.ts';
import { inlineTensor, type Tensor } from '../graph/tensor.ts';
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
import type { ExportOptions, ExportResult, ServeOptions } from './exportOptions.ts';
import { typedTensor } from './modulesToSave.ts';
import { checkRounded, openSource, packageCandidates, packageParameters } from './open.ts';
import { servable } from './servable.ts';

/**
 * Writes an adapter of a package in the form of another tool. Nothing that exists is replaced without `force`.
 *
 * `peft`          a directory that `PeftModel.from_pretrained` loads
 * `onnx_adapter`  ONNX Runtime's adapter file; tensors named as the manifest's A [in, r] and B [r, out], the scale multiplied into B
 * `safetensors`   the same tensors and names
 * `onnx`          the source with branches: `baked` the adapter is inside; `required` A and B are inputs (JavaScript; rank 0 gives the
 *                 base model); `optional` inputs with rank-0 defaults (ONNX Runtime's adapter API)
 *
 * Errors: BAD_PACKAGE, BAD_OPTION, SOURCE_NEEDED, ADAPTER_MISMATCH and those of reading adapters, TARGET_EXISTS, WRITE_FAILED.
 */
export async function exportAdapter(packageDir: string, options: ExportOptions): Promise<ExportResult> {
  const { format, out } = options;
  if (format !== 'onnx' && (options.inputs !== undefined || options.strength === true))
    throw badOption(`--${options.inputs === undefined ? 'strength' : 'inputs'} is for --format onnx, not ${format}`);
  if (format !== 'onnx' && options.source !== undefined)
    throw badOption(`--source is for --format onnx, not ${format}`);
  const manifest = readManifest(packageDir);
  servable(manifest, options);
  const adapter = {
    layers: adapterLayers(packageDir, manifest, options),
    saved: adapterSaved(packageDir, manifest, options),
  };
  const { layers } = adapter;
  const target = { force: options.force ?? false, protect: [packageDir, ...adapterSources(packageDir, options)] };
  const common = { format, out, layers: layers.size };
  switch (format) {
    case 'peft': {
      const marked = { ...target, marker: 'adapter_config.json' };
      await createFolder(out, marked, (folder) => writePeft(folder, peftOf(manifest, adapter)));
      return { ...common, warnings: unresolved(packageDir, manifest) };
    }
    case 'onnx_adapter':
      await createFile(out, target, (file) => writeOnnxAdapter(file, named(manifest, adapter)));
      return { ...common, warnings: [] };
    case 'safetensors':
      await createFile(out, target, (file) => writeNamedSafetensors(file, named(manifest, adapter)));
      return { ...common, warnings: [] };
    case 'onnx': {
      const inputs = options.inputs ?? 'baked';
      const made = await createFile(out, target, (file) =>
        writeServed(packageDir, manifest, adapter, file, {
          inputs,
          strength: options.strength ?? false,
          source: options.source,
        }),
      );
      const given = options.adapter !== undefined && inputs !== 'baked';
      const warnings = given
        ? ['the adapter is not in the model: its tensors are inputs; --format onnx_adapter writes them']
        : [];
      return { ...common, ...made, inputs, warnings };
    }
  }
}

interface Adapter {
  readonly layers: ReadonlyMap<string, PeftLayer>;
  /** Whole weights by the names of the manifest. */
  readonly saved: ReadonlyMap<string, Float32Array>;
}

const raw = (values: Float32Array): Uint8Array => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

/** What the branch of a layer computes with: A, and B with the scale in it. */
function tensorsOf(layer: ManifestLayer, { A, B, rank, scale }: PeftLayer) {
  const shapes = factorShapes({ ...layer, rank });
  return {
    A: { dims: shapes.A, bytes: raw(A) },
    B: { dims: shapes.B, bytes: raw(scale === 1 ? B : B.map((x) => x * scale)) },
  };
}

function named(manifest: Manifest, adapter: Adapter): Map<string, PortableTensor> {
  const tensors = new Map<string, PortableTensor>();
  for (const layer of manifest.layers) {
    const { path, A, B, magnitude } = layer;
    const found = adapter.layers.get(path);
    if (found === undefined) continue;
    const made = tensorsOf(layer, found);
    tensors.set(A.name, { type: 'float32', ...made.A });
    tensors.set(B.name, { type: 'float32', ...made.B });
    if (magnitude !== undefined && found.magnitude !== undefined)
      tensors.set(magnitude.name, { type: 'float32', dims: [layer.out], bytes: raw(found.magnitude) });
  }
  for (const { name, shape } of manifest.saved ?? []) {
    const values = adapter.saved.get(name);
    if (values !== undefined) tensors.set(name, { type: 'float32', dims: shape, bytes: raw(values) });
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
    return { ...(dataFile === undefined ? {} : { dataFile }), ...(name === undefined ? {} : { strength: name }) };
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
      {
        candidate,
        layer: servedLayer(layer, found),
        A: inlineTensor('float32', A.dims, A.bytes),
        B: inlineTensor('float32', B.dims, B.bytes),
        ...(found.magnitude === undefined
          ? {}
          : { magnitude: inlineTensor('float32', [layer.out], raw(found.magnitude)) }),
      },
    ];
  });
}

/** The source -> the model that is served, in place. Layers have scale 1. Returns the name of the strength input. */
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
function peftOf(manifest: Manifest, { layers: adapter, saved: whole }: Adapter): PeftContent {
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
  const ops = new Map(manifest.layers.map((l) => [l.path, l.op]));
  const layers = [...adapter].map(([path, l]) => ({
    path,
    op: ops.get(path) ?? '',
    in: l.in,
    out: l.out,
    kernel: l.kernel,
    rank: l.rank,
    alpha: standard || rslora ? l.alpha : l.scale * l.rank,
    A: place(l.A),
    B: place(l.B),
    ...(l.magnitude === undefined ? {} : { magnitude: place(l.magnitude) }),
  }));
  const saved = (manifest.saved ?? []).map((s) => ({ ...s, ...place(whole.get(s.name) ?? new Float32Array(0)) }));
  const params = new Float32Array(size);
  for (const [i, l] of all.entries()) {
    params.set(l.A, layers[i]?.A.offset);
    params.set(l.B, layers[i]?.B.offset);
    params.set(l.magnitude ?? [], layers[i]?.magnitude?.offset);
  }
  for (const s of saved) params.set(whole.get(s.name) ?? [], s.offset);
  const { dropout, peft: told, modulesToSave } = manifest.lora;
  // Converted to a branch beside the source's weights, it is plain LoRA.
  const init = changesBase(manifest.lora.init) ? 'kaiming' : manifest.lora.init;
  return {
    layers,
    params,
    scaling: rslora ? 'rslora' : 'standard',
    knownPaths: knownPaths(manifest),
    dropout,
    init,
    told,
    saved,
    modulesToSave,
  };
}

/** Layers that PEFT will not find under their names. */
function unresolved(packageDir: string, manifest: Manifest): string[] {
  const { model, source } = openSource(packageDir, manifest);
  try {
    const paths = packageCandidates(model, manifest).flatMap(({ candidate }) =>
      candidate.from === 'fallback' ? [candidate.path] : [],
    );
    if (paths.length === 0) return [];
    return [`the file does not say which modules these layers are, so PEFT will not find them: ${paths.join(', ')}`];
  } finally {
    source.close();
  }
}
