/** Folds an adapter into the source's weights: the same file with only those bytes changed. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { PeftLayer } from '../adapter/index.ts';
import {
  copyWithIrVersion,
  createFile,
  type Delta,
  encodeModel,
  mergeWeights,
  planWeights,
  type UntieChange,
  type WeightChange,
} from '../emit/index.ts';
import { mergeMismatch, notMergeable } from '../errors.ts';
import { defined } from '../formats/defined.ts';
import { type Manifest, type ManifestLayer, readManifest } from '../formats/manifest.ts';
import { factorMatrices, formShapes } from '../graph/layers.ts';
import { graphsOf, type Model, type Node, nameGiver, namesIn, tensorType, type Value } from '../graph/model.ts';
import { bytesOf, type DataType, floatTensor, type Tensor } from '../graph/tensor.ts';
import { irVersions } from '../graph/versions.ts';
import { fileSource, parseFile } from '../parser/index.ts';
import { type Candidate, isQuantized, type Product } from '../passes/index.ts';
import { compareModels } from '../runtime/index.ts';
import { type AdapterOptions, adapterLayers, adapterSaved, adapterSources, withStart } from './adapters.ts';
import { typedTensor } from './modulesToSave.ts';
import { checkRounded, openSource, packageCandidates, packageParameters, sourceFiles } from './open.ts';
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
 * Errors: BAD_PACKAGE, SOURCE_NEEDED, ADAPTER_MISMATCH, NOT_MERGEABLE, MERGE_MISMATCH, TARGET_EXISTS, WRITE_FAILED.
 */
export async function merge(packageDir: string, options: MergeOptions): Promise<MergeResult> {
  const manifest = readManifest(packageDir);
  const adapter = adapterLayers(packageDir, manifest, options);
  const saved = adapterSaved(packageDir, manifest, options);
  const { model, source } = openSource(packageDir, manifest, options.source);
  const warnings: string[] = [];
  try {
    checkRounded(packageDir, manifest, model);
    const { edits, unties } = plan(model, manifest, adapter, saved);
    const protect = [packageDir, ...adapterSources(packageDir, options), ...sourceFiles(manifest, source)];
    const target = { force: options.force ?? false, protect };
    return await createFile(options.out, target, async (path) => {
      const { dataFile } = mergeWeights(source, edits, unties, path);
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
      const layers = edits.length + unties.length - saved.size;
      return defined({ file: options.out, layers, warnings, dataFile, error: checked });
    });
  } finally {
    source.close();
  }
}

type Adapter = ReadonlyMap<string, PeftLayer>;

type Saved = ReadonlyMap<string, Float32Array>;

function plan(
  model: Model,
  manifest: Manifest,
  adapter: Adapter,
  saved: Saved,
): { edits: WeightChange[]; unties: UntieChange[] } {
  const freshName = nameGiver(namesIn(graphsOf(model)));
  const edits: WeightChange[] = [];
  const unties: UntieChange[] = [];
  for (const { layer, candidate } of packageCandidates(model, manifest)) {
    const [product] = candidate.products;
    const change = adapter.get(layer.path);
    if (product === undefined || change === undefined) continue;
    const { tensor } = product.weight;
    if (isQuantized(product.weight))
      throw notMergeable(layer.path, `its weight "${layer.weight}" is quantized (${tensor.dtype})`);
    const edit = {
      layer: layer.path,
      weight: layer.weight,
      tensor,
      delta: { ...deltaOf(layer, change), part: product.part },
    };
    const uses = readers(candidate);
    const others = [...candidate.stored.uses].filter(
      (u) => !uses.some((r) => r.node === u.node && r.input === u.index),
    );
    if (others.length === 0 && !model.graph.outputs.includes(candidate.stored)) edits.push(edit);
    else if (product.part !== undefined)
      throw notMergeable(
        layer.path,
        `its weight "${layer.weight}" is shared with other modules, and other operators read it`,
      );
    else unties.push({ ...edit, name: freshName(`${layer.weight}.merged`), uses });
  }
  for (const { saved: s, parameter } of packageParameters(model, manifest)) {
    const values = saved.get(s.name);
    if (values === undefined) continue;
    const { value, tensor, uses, path } = parameter;
    if (!values.every(Number.isFinite)) throw mergeMismatch(`"${path}" of the adapter has values that are not finite`);
    const content = bytesOf(typedTensor(tensor.dtype, tensor.dims, values));
    const edit = { layer: path, weight: value.name, tensor, content };
    if (value.uses.size === uses.length && !model.graph.outputs.includes(value)) edits.push(edit);
    else {
      const name = freshName(`${value.name}.merged`);
      unties.push({ ...edit, name, uses: uses.map(({ node, index }) => ({ node, input: index })) });
    }
  }
  return { edits, unties };
}

const deltaOf = ({ layout, out }: ManifestLayer, change: PeftLayer): Delta => ({
  ...factorMatrices(change),
  magnitude: change.magnitude,
  scale: change.scale,
  layout,
  out,
});

/**
 * The inputs through which the layer reads the stored weight: of the first node of the chain, of the layer's node, or
 * of a call that passes it on.
 */
function readers(candidate: Candidate): { node: Node; input: number }[] {
  const found: { node: Node; input: number }[] = [];
  const refuse = (where: string): Error => notMergeable(candidate.path, `another operator reads its weight ${where}`);
  for (const product of candidate.products) {
    const { chain } = product.weight;
    if (chain.flatMap((n) => n.outputs).some((v) => leadsElsewhere(v, candidate)))
      throw refuse('through the same Transpose, Reshape or Cast');
    const reader = readerOf(product, candidate.stored);
    const call = product.calls.find((c) => c.node === reader.node);
    const handed = call?.fn.body.inputs[reader.input];
    if (handed !== undefined && leadsElsewhere(handed, candidate)) throw refuse(`in function "${call?.fn.name}"`);
    if (!found.some((r) => r.node === reader.node && r.input === reader.input)) found.push(reader);
  }
  return found;
}

/** The node that reads `stored` by its own name: functions get it as an argument, perhaps through other functions. */
function readerOf({ node: product, weight: { chain }, calls }: Product, stored: Value): { node: Node; input: number } {
  const first = chain[0] ?? product;
  for (const [at, operand] of first.inputs.entries()) {
    let [value, reader] = [operand, { node: first, input: at }];
    while (value !== undefined && value !== stored) {
      const body = value;
      const call = calls.find((c) => c.fn.body.inputs.includes(body));
      if (call === undefined) break;
      const input = call.fn.body.inputs.indexOf(body);
      [value, reader] = [call.node.inputs[input], { node: call.node, input }];
    }
    if (value === stored) return reader;
  }
  throw new Error(`"${first.label}" does not read "${stored.name}"`);
}

/** Whether another node reads a value between the weight and the layer, here or in a function that gets it. */
const leadsElsewhere = (v: Value, c: Candidate): boolean =>
  [...v.uses].some(({ node, index }) => {
    if (c.products.some((p) => p.node === node || p.weight.chain.includes(node))) return false;
    const inner = c.products.flatMap((p) => p.calls).find((call) => call.node === node)?.fn.body.inputs[index];
    return inner === undefined || leadsElsewhere(inner, c);
  });

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

/** The relative difference to model.onnx with this adapter. */
async function verified(
  packageDir: string,
  manifest: Manifest,
  { layers: adapter, saved }: { readonly layers: Adapter; readonly saved: Saved },
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
      warnings.push(`not verified: the model did not run on generated inputs (${reason})`);
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
