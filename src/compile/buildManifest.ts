/** Builds loraify.json for a compiled model. */
import { defined } from '../formats/defined.ts';
import type { InputInfo, LabelsInfo, Manifest, ManifestSplice, ValueInfo } from '../formats/manifest.ts';
import { optimizers } from '../graph/choices/compile.ts';
import { losses, lossParamsOf } from '../graph/choices/losses.ts';
import type { FamilyName } from '../graph/families/families.ts';
import type { Dim, Model, Value } from '../graph/model.ts';
import type { ExternalFile } from '../parser/index.ts';
import {
  buildTraining,
  computesIn,
  type HeadPlan,
  lengthLimits,
  lossScaling,
  narrowsActivations,
  type Prepared,
  type Stored,
  tableRanges,
} from '../passes/index.ts';
import type { Compiled } from './compiled.ts';
import { type ClassLabels, classLabels, type LabelSources } from './labelNames.ts';
import { labelsText } from './labelsText.ts';
import {
  copiesSection,
  countsSection,
  layersSection,
  loraSection,
  savedSection,
  skippedSection,
} from './manifestLayers.ts';
import type { ResolvedOptions } from './options.ts';

export interface ManifestInputs {
  /** The source's file name. */
  readonly file: string;
  readonly bytes: number;
  /** The path relative to the package's folder. */
  readonly path: string;
  readonly data: readonly ExternalFile[];
  /** The file that this package adds. */
  readonly weightsFile?: string | undefined;
  readonly format: Manifest['format'];
  readonly version: string;
  readonly model: Model;
  readonly compiled: Compiled;
  readonly options: ResolvedOptions;
  readonly labels: LabelSources;
  /** The folder of the package with the tokenizer. */
  readonly tokenizer?: string | undefined;
  readonly family: FamilyName | undefined;
  readonly skeleton: { readonly sha256: string; readonly splices: readonly ManifestSplice[] };
}

export function buildManifest(m: ManifestInputs): Manifest {
  const { compiled, options } = m;
  const { prepared } = compiled;
  const reference = compiled.graphs.get('train') ?? compiled.graphs.get('grad') ?? compiled.graphs.get('eval');
  const open = openInputs(compiled, reference);
  const classes = classLabels(prepared, m.labels, options.headPlan);
  return defined({
    format: m.format,
    version: m.version,
    source: sourceSection(m),
    tokenizer: m.tokenizer,
    precision: compiled.stored && precisionOf(compiled.stored, options, m.weightsFile),
    for: prepared && options.for,
    fixed: fixedSection(prepared, open),
    head: headSection(options.headPlan),
    graphs: Object.fromEntries([...compiled.graphs.keys()].map((g) => [g, `${g}.onnx`])),
    lora: loraSection(compiled, options),
    layers: layersSection(compiled),
    saved: savedSection(compiled),
    copies: copiesSection(compiled),
    skipped: skippedSection(compiled),
    state: stateSection(compiled, options),
    inputs: inputsSection(m.model, reference, compiled, open),
    labels: labelsSection(reference, prepared, open, classes),
    outputs: outputsSection(prepared),
    bound: prepared && (prepared.bindings.bound.length === 0 ? undefined : boundOf(prepared)),
    loss: lossSection(prepared, options, classes),
    names: namesSection(prepared),
    optimizer: optimizerSection(prepared, options),
    counts: countsSection(m.model, compiled),
    splices: [...m.skeleton.splices],
  });
}

function sourceSection(m: ManifestInputs): Manifest['source'] {
  const { file, bytes, path, data, model, compiled, family, skeleton } = m;
  return defined({
    file,
    bytes,
    sha256: skeleton.sha256,
    opset: model.opsets.get('') ?? 0,
    data: data.length === 0 ? undefined : data.map((f) => f.location),
    renamed: data.some((f) => f.aliases.length > 0)
      ? Object.fromEntries(data.flatMap((f) => f.aliases.map((alias) => [alias, f.location])))
      : undefined,
    path: compiled.stored && path,
    family,
  });
}

export const headSection = (plan: HeadPlan | undefined): Manifest['head'] =>
  plan && defined({ ...plan, dims: [...plan.dims], linear: plan.linear && { ...plan.linear } });

/** The final name of what training graphs add; without training graphs the usual one. */
const nameIn = (prepared: Prepared | undefined, key: keyof Prepared['names']): string => prepared?.names[key] ?? key;

function stateSection({ prepared, layout }: Compiled, { optimizer }: ResolvedOptions): Manifest['state'] {
  const pair = (key: keyof Prepared['names']): [string, string] => {
    const name = nameIn(prepared, key);
    return [name, `${name}_next`];
  };
  return defined({
    size: layout.size,
    params: pair('lora_params'),
    m: pair('lora_m'),
    v: optimizers[optimizer].slots.includes('v') ? pair('lora_v') : undefined,
    step: pair('lora_step'),
    lossScale: prepared?.lossScaled === true ? pair('lora_loss_scale') : undefined,
    lr: nameIn(prepared, 'lora_lr'),
  });
}

/** The inputs of the model that data feed. */
function inputsSection(
  model: Model,
  reference: Model | undefined,
  { graphs, prepared }: Compiled,
  open: ReadonlyMap<string, Value>,
): InputInfo[] {
  const own = new Set(model.graph.inputs.map((v) => v.name));
  const first = reference?.graph.inputs ?? model.graph.inputs.filter((v) => v.tensor === undefined);
  const names = new Set(first.map((v) => v.name));
  // Outputs beside the loss may read inputs that the loss does not.
  const others = (graphs.get('eval')?.graph.inputs ?? []).filter((v) => own.has(v.name) && !names.has(v.name));
  const inputs = [...first, ...others];
  const bindings = prepared?.bindings;
  const source = prepared?.fixed?.open ?? prepared;
  const ranges = source && tableRanges(source.model.graph);
  const limits = source && lengthLimits(source.model.graph, source.bindings.absent);
  return inputs
    .filter((v) => own.has(v.name))
    .map((v) =>
      defined({
        ...info(v),
        batchAxis: notFirst(prepared?.batch.inputs.get(v.name)),
        open: openShape(v, open),
        missing: bindings?.absent.get(v.name),
        longest: v.name === bindings?.tokens ? bindings.longest : undefined,
        tables: ranges?.get(v.name)?.slice(),
        lengths: limits?.get(v.name)?.slice(),
      }),
    );
}

function labelsSection(
  reference: Model | undefined,
  prepared: Prepared | undefined,
  open: ReadonlyMap<string, Value>,
  classes: ClassLabels | undefined,
): LabelsInfo | undefined {
  const found = reference?.graph.inputs.find((v) => v.name === prepared?.names.labels);
  if (found === undefined || prepared === undefined) return undefined;
  const tokens = reference?.graph.inputs.find((v) => v.name === prepared.bindings.tokens);
  // A language model learns from text alone: the labels are the tokens.
  const own = losses[prepared.choice.kind].shift === true && tokens?.shape?.length === 2;
  return defined({
    ...info(found),
    batchAxis: notFirst(prepared.batch.labels),
    open: openShape(found, open),
    missing: own ? ({ value: 'copy', like: tokens.name } as const) : undefined,
    names: classes?.names && [...classes.names],
  });
}

/** The first axis is not written. */
const notFirst = (axis: number | null | undefined): number | null | undefined => (axis === 0 ? undefined : axis);

function outputsSection(prepared: Prepared | undefined): Manifest['outputs'] {
  const others = [...(prepared?.batch.outputs ?? [])].map(([name, batchAxis]) => ({ name, batchAxis }));
  return others.length === 0 ? undefined : others;
}

function lossSection(
  prepared: Prepared | undefined,
  options: ResolvedOptions,
  labels: ClassLabels | undefined,
): Manifest['loss'] {
  if (prepared === undefined) return undefined;
  const { kind, output, tensor, reason, classAxis, classes, threshold, classLabels, tokens } = prepared.choice;
  const { ignoreIndex, labelSmoothing, classWeights } = options;
  const params = lossParamsOf(kind, options);
  return defined({
    kind,
    output,
    tensor,
    chosen: reason,
    classAxis,
    classes: classes ?? labels?.count,
    ignoreIndex,
    labelSmoothing,
    classWeights,
    threshold,
    classLabels: classLabels && [...classLabels],
    labels: labelsText(prepared.choice, ignoreIndex),
    tokens,
    unreached: prepared.unreached.length === 0 ? undefined : [...prepared.unreached],
    params: Object.keys(params).length === 0 ? undefined : params,
  });
}

const namesSection = (prepared: Prepared | undefined): Manifest['names'] =>
  defined({
    loss: nameIn(prepared, 'loss'),
    grad_norm: nameIn(prepared, 'grad_norm'),
    weight: nameIn(prepared, 'weight'),
    grad: nameIn(prepared, 'lora_grad'),
    apply: nameIn(prepared, 'lora_apply'),
    seed: prepared?.seeded === true ? nameIn(prepared, 'lora_seed') : undefined,
  });

function optimizerSection(prepared: Prepared | undefined, options: ResolvedOptions): Manifest['optimizer'] {
  const betas: [number, number] = [...options.betas];
  return defined({
    kind: options.optimizer,
    betas,
    eps: options.eps,
    weightDecay: options.weightDecay,
    maxGradNorm: options.maxGradNorm,
    momentum: optimizers[options.optimizer].takes.includes('momentum') ? options.momentum : undefined,
    lossScale: prepared?.lossScaled === true ? { ...lossScaling } : undefined,
  });
}

/** The manifest's entry for rounded weights. */
export const precisionOf = (
  stored: Stored,
  options: ResolvedOptions,
  file?: string,
): NonNullable<Manifest['precision']> =>
  defined({
    type: stored.type,
    file,
    computes: computesIn(stored.type, options.for),
    activations: narrowsActivations(options.for) ? stored.type : undefined,
    weights: stored.weights,
    bytes: stored.bytes,
    sourceBytes: stored.sourceBytes,
  });

export function info(v: Value): ValueInfo {
  return { name: v.name, type: v.dtype ?? 'float32', shape: [...(v.shape ?? [])] };
}

/** The inputs of eval.onnx by name, if other graphs fix dims; empty otherwise. */
function openInputs({ graphs, prepared }: Compiled, reference: Model | undefined): ReadonlyMap<string, Value> {
  const evaluation = graphs.get('eval');
  if (prepared?.fixed === undefined || reference === undefined || reference === evaluation) return new Map();
  const { graph } = evaluation ?? buildTraining(prepared, 'eval');
  return new Map(graph.inputs.map((v) => [v.name, v]));
}

/** The shape in eval.onnx, if the training graphs fix dims of it. */
function openShape(v: Value, open: ReadonlyMap<string, Value>): Dim[] | undefined {
  const shape = open.get(v.name)?.shape;
  return shape === undefined || shape.every((d, i) => d === v.shape?.[i]) ? undefined : [...shape];
}

function fixedSection(prepared: Prepared | undefined, open: ReadonlyMap<string, Value>): Manifest['fixed'] {
  if (prepared?.fixed === undefined || open.size === 0) return undefined;
  const { batch, seq, dims, mixed } = prepared.fixed;
  return defined({
    batch,
    seq,
    dims: Object.keys(dims).length === 0 ? undefined : { ...dims },
    wholeBatches: mixed,
  });
}

/** The inputs that are bound in the training graphs. */
export function boundOf({ bindings }: Prepared): NonNullable<Manifest['bound']> {
  return bindings.bound.map(({ name, value, dtype, shape }) =>
    defined({
      name,
      value,
      type: dtype,
      shape: shape && [...shape],
    }),
  );
}
