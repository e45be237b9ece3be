/** Folds an adapter into the source's weights: the same file with only those bytes changed. */
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { PeftLayer } from '../adapter/index.ts';
import { copyWithIrVersion, createFile, encodeModel, mergeWeights, planWeights } from '../emit/index.ts';
import { mergeMismatch } from '../errors.ts';
import { defined } from '../formats/defined.ts';
import { type Manifest, type ManifestLayer, readManifest } from '../formats/manifest.ts';
import { formShapes } from '../graph/layers.ts';
import { tensorType } from '../graph/model.ts';
import { type DataType, floatTensor, type Tensor } from '../graph/tensor.ts';
import { irVersions } from '../graph/versions.ts';
import { fileSource, parseFile } from '../parser/index.ts';
import { compareModels } from '../runtime/index.ts';
import { type AdapterOptions, adapterLayers, adapterSaved, adapterSources, withStart } from './adapters.ts';
import { chosenAdapter } from './chosenAdapter.ts';
import { carryConfig } from './configFile.ts';
import { type MergedLayers, planMerge, type SavedValues } from './mergePlan.ts';
import { typedTensor } from './modulesToSave.ts';
import { checkRounded, openSource, sourceFiles } from './open.ts';
import { timesFactor } from './stateVector.ts';

export interface MergeOptions extends AdapterOptions {
  /** The file to write. */
  readonly out: string;
  /** The source, for a package with rounded weights; absent: its recorded path. */
  readonly source?: string | undefined;
  readonly force?: boolean | undefined;
  /** Compares the result with base + adapter; default true. */
  readonly verify?: boolean | undefined;
}

export interface MergeResult {
  readonly file: string;
  /** The data file beside it, if the source had external data or the result is over 2 GiB. */
  readonly dataFile?: string;
  readonly layers: number;
  /** Relative difference to base + adapter on generated inputs; absent if it was not, or could not be, verified. */
  readonly error?: number;
  readonly warnings: readonly string[];
}

/**
 * Two orders of summation in float32 over some thousand terms, through a deep model; half-precision types round the
 * merged weights and the result of every layer, to 2^-12 and 2^-9 of it, which a deep model may multiply by ten or
 * twenty.
 */
const tolerances = new Map<DataType, number>([
  ['float16', 1e-2],
  ['bfloat16', 5e-2],
]);
const tolerance = 1e-3;

/**
 * Writes `out`: the source of the package with W + scale·A·B in the weights, for a DoRA layer with its columns scaled
 * to the magnitude, and with the modules_to_save weights replaced, in their own layout and type. A weight that other
 * operators read too is unchanged for them, and the layer's nodes get a copy. Memory does not depend on the weights.
 * Several adapters are combined first, see AdapterOptions; their ranks need not be the package's.
 *
 * Without `adapter`, it is that of the only run beside the package. Errors: BAD_PACKAGE, BAD_OPTION for several runs,
 * UNTRAINED for none, SOURCE_NEEDED, ADAPTER_MISMATCH, NOT_MERGEABLE, MERGE_MISMATCH, TARGET_EXISTS, WRITE_FAILED.
 */
export async function merge(packageDir: string, options: MergeOptions): Promise<MergeResult> {
  const manifest = readManifest(packageDir);
  const chosen = chosenAdapter(packageDir, manifest, options.adapter, true);
  const what = { ...options, adapter: chosen.adapter };
  const adapter = adapterLayers(packageDir, manifest, what);
  const saved = adapterSaved(packageDir, manifest, what);
  const { model, source } = openSource(packageDir, manifest, options.source);
  const warnings: string[] = [...chosen.notices];
  if (chosen.notices.length === 0 && changesNothing(adapter, saved))
    warnings.push('the adapter changes nothing: B is 0 in every layer, as before training');
  try {
    checkRounded(packageDir, manifest, model);
    const { edits, unties, bypasses, layers } = planMerge(model, manifest, adapter, saved);
    const protect = [packageDir, ...adapterSources(packageDir, what), ...sourceFiles(manifest, source)];
    const target = { force: options.force ?? false, protect };
    return await createFile(options.out, target, async (path) => {
      const { dataFile } = mergeWeights(source, edits, unties, path, bypasses);
      warnings.push(...carryConfig(packageDir, manifest, options.out, dirname(path)));
      const types = [...edits, ...unties].map((e) => e.tensor.dtype);
      // model.onnx of a package with rounded weights computes with those, the merged model with the source's.
      const { precision } = manifest;
      const most = Math.max(
        ...[...types, ...(precision === undefined ? [] : [precision.type])].map((t) => tolerances.get(t) ?? tolerance),
      );
      const checked =
        options.verify === false
          ? undefined
          : await loadable(path, model.irVersion, warnings, (file) =>
              verified(packageDir, manifest, { layers: adapter, saved }, file, warnings, most),
            );
      return defined({ file: options.out, layers, warnings, dataFile, error: checked });
    });
  } finally {
    source.close();
  }
}

/**
 * Calls `use` with a merged file, or with a copy beside it that claims an IR version which ONNX Runtime loads, where
 * the source has a newer one.
 */
async function loadable<T>(
  file: string,
  irVersion: number,
  warnings: string[],
  use: (file: string) => Promise<T>,
): Promise<T> {
  const { newest } = irVersions;
  if (irVersion <= newest) return use(file);
  warnings.push(
    `the file has IR version ${irVersion}, as its source; the ONNX Runtime of this package loads up to ${newest} (m = onnx.load(FILE); m.ir_version = ${newest}; onnx.save(m, FILE))`,
  );
  const bytes = fileSource(file);
  const copy = `${file}.verified`;
  try {
    copyWithIrVersion(bytes, copy, newest);
    return await use(copy);
  } finally {
    bytes.close();
    rmSync(copy, { force: true });
  }
}

/** Whether all branches are 0. Magnitudes and full weights may differ from the source's in any case. */
const changesNothing = (layers: MergedLayers, saved: SavedValues): boolean =>
  saved.size === 0 &&
  [...layers.values()].every(({ B, magnitude }) => magnitude === undefined && B.every((value) => value === 0));

/** The relative difference to model.onnx with this adapter. */
async function verified(
  packageDir: string,
  manifest: Manifest,
  { layers: adapter, saved }: { readonly layers: MergedLayers; readonly saved: SavedValues },
  file: string,
  warnings: string[],
  most: number,
): Promise<number | undefined> {
  if (manifest.graphs.model === undefined) {
    warnings.push('not verified: the package has no model.onnx to compare with');
    return undefined;
  }
  const { model, source } = parseFile(join(packageDir, manifest.graphs.model));
  try {
    const own = withStart(packageDir, manifest, adapter, 1);
    const content = new Map(manifest.layers.flatMap((l) => branchTensors(l, own.get(l.path))));
    for (const v of model.graph.initializers) {
      const whole = v.tensor === undefined ? undefined : saved.get(v.name);
      if (whole !== undefined && v.tensor !== undefined)
        content.set(v.name, typedTensor(v.tensor.dtype, v.tensor.dims, whole));
      const tensor = content.get(v.name);
      if (tensor === undefined) continue;
      v.tensor = tensor;
      v.type = tensorType(tensor.dtype, tensor.dims);
    }
    const inside = new Set(content.values());
    const { placements } = planWeights([model], source.externalFiles);
    const external = new Map([...placements].filter(([t]) => !inside.has(t)));
    const { error, reason } = await compareModels({ bytes: encodeModel(model, external), folder: packageDir }, file);
    if (error === undefined) {
      warnings.push(`not verified: ${reason}`);
      return undefined;
    }
    if (!(error <= most))
      throw mergeMismatch(`the merged model differs from base + adapter by ${error} (relative), more than ${most}`);
    return error;
  } finally {
    source.close();
  }
}

/** A and B in the form of model.onnx, which multiplies by the scale of the package. */
function branchTensors(layer: ManifestLayer, adapter: PeftLayer | undefined): [string, Tensor][] {
  if (adapter === undefined) return [];
  const { A, B, scale, magnitude } = adapter;
  const shapes = formShapes(adapter.form, adapter);
  return [
    [layer.A.name, floatTensor(shapes.A, A)],
    [layer.B.name, floatTensor(shapes.B, timesFactor(B, scale / layer.scale))],
    ...(magnitude === undefined || layer.magnitude === undefined
      ? []
      : [[layer.magnitude.name, floatTensor([layer.out], magnitude)] satisfies [string, Tensor]]),
  ];
}
