/** Folds an adapter into the source's weights: the same file with those bytes changed and nothing else. */
import { join } from 'node:path';
import type { PeftLayer } from './adapter/index.ts';
import { type AdapterOptions, adapterLayers, adapterSources, withStart } from './adapters.ts';
import { createFile, encodeModel, mergeWeights, planWeights, type UntieEdit, type WeightEdit } from './emit/index.ts';
import { mergeMismatch, notMergeable } from './errors.ts';
import { type Manifest, type ManifestLayer, readManifest } from './formats/manifest.ts';
import { factorMatrices, formShapes } from './graph/layers.ts';
import { freshName, type Model, type Node, tensorType, type Value } from './graph/model.ts';
import { type DataType, inlineTensor, isFloat, type Tensor } from './graph/tensor.ts';
import { checkRounded, openSource, packageCandidates, sourceFiles } from './packages.ts';
import { parseFile } from './parser/index.ts';
import type { Candidate } from './passes/index.ts';
import { compareModels } from './runtime/index.ts';

export interface MergeOptions extends AdapterOptions {
  /** The file to write. */
  readonly out: string;
  /** The source, for a package that holds rounded weights; absent: where it was. */
  readonly source?: string | undefined;
  readonly force?: boolean | undefined;
  /** Run the result against base + adapter; default true. */
  readonly verify?: boolean | undefined;
}

export interface MergeResult {
  readonly file: string;
  /** The data file beside it, where the source had external data or the result is over 2 GiB. */
  readonly dataFile?: string;
  readonly layers: number;
  /** Relative difference to base + adapter on made-up inputs; absent where it was not, or could not be, verified. */
  readonly error?: number;
  readonly warnings: readonly string[];
}

/**
 * Two orders of summation in float32 over some thousand terms, through a deep model; half types round the merged weights and what
 * every layer gives, to 2^-12 and 2^-9 of it, which a deep model may multiply by ten or twenty.
 */
const tolerances = new Map<DataType, number>([
  ['float16', 1e-2],
  ['bfloat16', 5e-2],
]);
const tolerance = 1e-3;

/**
 * Writes `out`: the source of the package with W + scale·A·B in the weights, in their own layout and type. A weight that other
 * operators read too stays as it is for them, and the products get a copy. Memory does not depend on the weights. Several adapters are
 * combined first, see AdapterOptions; their ranks need not be the package's.
 *
 * Errors: BAD_PACKAGE, SOURCE_NEEDED, ADAPTER_MISMATCH, NOT_MERGEABLE, MERGE_MISMATCH, TARGET_EXISTS, WRITE_FAILED.
 */
export async function merge(packageDir: string, options: MergeOptions): Promise<MergeResult> {
  const manifest = readManifest(packageDir);
  const adapter = adapterLayers(packageDir, manifest, options);
  const { model, source } = openSource(packageDir, manifest, options.source);
  const warnings: string[] = [];
  try {
    checkRounded(packageDir, manifest, model);
    const { edits, unties } = plan(model, manifest, adapter);
    const protect = [packageDir, ...adapterSources(packageDir, options), ...sourceFiles(manifest, source)];
    const target = { force: options.force ?? false, protect };
    return await createFile(options.out, target, async (path) => {
      const { dataFile } = mergeWeights(source, edits, unties, path);
      const types = [...edits, ...unties].map((e) => e.tensor.dtype);
      // model.onnx of a package of rounded weights computes with those, the merged model with the source's.
      const { precision } = manifest;
      const most = Math.max(
        ...[...types, ...(precision === undefined ? [] : [precision.type])].map((t) => tolerances.get(t) ?? tolerance),
      );
      const checked =
        options.verify === false ? undefined : await verified(packageDir, manifest, adapter, path, warnings, most);
      return {
        file: options.out,
        layers: edits.length + unties.length,
        warnings,
        ...(dataFile === undefined ? {} : { dataFile }),
        ...(checked === undefined ? {} : { error: checked }),
      };
    });
  } finally {
    source.close();
  }
}

type Adapter = ReadonlyMap<string, PeftLayer>;

function plan(model: Model, manifest: Manifest, adapter: Adapter): { edits: WeightEdit[]; unties: UntieEdit[] } {
  const taken = new Set(
    [...model.graph.allGraphs()].flatMap((g) =>
      [...g.inputs, ...g.initializers, ...g.nodes.flatMap((n) => n.outputs)].map((v) => v.name),
    ),
  );
  const edits: WeightEdit[] = [];
  const unties: UntieEdit[] = [];
  for (const { layer, candidate } of packageCandidates(model, manifest)) {
    const [product] = candidate.products;
    const change = adapter.get(layer.path);
    if (product === undefined || change === undefined) continue;
    const { tensor, chain } = product.weight;
    if (!isFloat(tensor.dtype) || chain.some((n) => n.op === 'DequantizeLinear'))
      throw notMergeable(layer.path, `its weight "${layer.weight}" is quantized (${tensor.dtype})`);
    const edit = { layer: layer.path, weight: layer.weight, tensor, delta: deltaOf(layer, change) };
    const mine = readers(candidate);
    const others = [...candidate.stored.uses].filter(
      (u) => !mine.some((r) => r.node === u.node && r.input === u.index),
    );
    if (others.length === 0 && !model.graph.outputs.includes(candidate.stored)) edits.push(edit);
    else {
      const name = freshName(`${layer.weight}.merged`, taken);
      taken.add(name);
      unties.push({ ...edit, name, uses: mine });
    }
  }
  return { edits, unties };
}

const deltaOf = ({ layout, out }: ManifestLayer, change: PeftLayer): WeightEdit['delta'] => ({
  ...factorMatrices(change),
  scale: change.scale,
  layout,
  out,
});

/** Where the layer's products read the stored weight: the first node of the chain, or the product itself. */
function readers(candidate: Candidate): { node: Node; input: number }[] {
  const found = new Map<string, { node: Node; input: number }>();
  for (const p of candidate.products) {
    const foreign = p.weight.chain.flatMap((n) => n.outputs).some((v) => leadsElsewhere(v, candidate));
    if (foreign)
      throw notMergeable(
        candidate.path,
        'another operator reads its weight through the same Transpose, Reshape or Cast',
      );
    const node = p.weight.chain[0] ?? p.node;
    const input = node.inputs.indexOf(candidate.stored);
    found.set(`${node.outputs[0]?.name}:${input}`, { node, input: Math.max(0, input) });
  }
  return [...found.values()];
}

const leadsElsewhere = (v: Value, c: Candidate): boolean =>
  [...v.uses].some((u) => !c.products.some((p) => p.node === u.node || p.weight.chain.includes(u.node)));

/** The relative difference to model.onnx with this adapter in it. */
async function verified(
  packageDir: string,
  manifest: Manifest,
  adapter: Adapter,
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
      warnings.push(`not verified: the model did not run on made-up inputs (${reason})`);
      return undefined;
    }
    if (!(error <= most))
      throw mergeMismatch(`the merged model differs from base + adapter by ${error} (relative), more than ${most}`);
    return error;
  } finally {
    source.close();
  }
}

/** A and B as model.onnx reads them, which multiplies by the scale of the package. */
function branchTensors(layer: ManifestLayer, adapter: PeftLayer | undefined): [string, Tensor][] {
  if (adapter === undefined) return [];
  const { A, B, scale } = adapter;
  const shapes = formShapes(adapter.form, adapter);
  const factor = scale / layer.scale;
  const raw = (values: Float32Array): Uint8Array => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return [
    [layer.A.name, inlineTensor('float32', shapes.A, raw(A))],
    [layer.B.name, inlineTensor('float32', shapes.B, raw(factor === 1 ? B : B.map((x) => x * factor)))],
  ];
}
