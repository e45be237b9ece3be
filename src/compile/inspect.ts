/**
 * Lists the weighted layers of a model, which would be adapted and why the rest would not, the loss that would be
 * chosen, and how each operator between both would be differentiated.
 */
import { openAdapter } from '../adapter/index.ts';
import { LoraifyError } from '../errors.ts';
import { defined } from '../formats/defined.ts';
import type { Manifest } from '../formats/manifest.ts';
import { factorShapes, layerOp, sizeOf } from '../graph/layers.ts';
import type { Layer, Model } from '../graph/model.ts';
import {
  type Candidate,
  type Differentiated,
  findCandidates,
  findCopies,
  fixLengths,
  type GradientReport,
  joinCopies,
  type NearMiss,
  NearMisses,
  namedCopies,
  type Prepared,
  prepare,
  reasonOf,
  reportGradients,
  type Stored,
  stateLayout,
} from '../passes/index.ts';
import { boundOf, headSection, precisionOf } from './buildManifest.ts';
import type { Selection } from './compiled.ts';
import { adaptModel, select } from './compileModel.ts';
import { type InspectedMemory, inspectedMemory } from './estimateMemory.ts';
import { existingOf, treatExistingLora, withoutKept } from './existingLora.ts';
import { openInspected } from './head.ts';
import { labelsText } from './labelsText.ts';
import { parameterCount } from './manifestLayers.ts';
import { chooseModulesToSave, type ModulesToSave } from './modulesToSave.ts';
import { type CompileOptions, type ResolvedOptions, resolveOptions } from './options.ts';
import { fixedLengths, namingOf, trainingOptions } from './passOptions.ts';
import { nothingSelected } from './select.ts';

export interface InspectedLayer {
  readonly path: string;
  /** The source of the path. */
  readonly from: string;
  readonly op: string;
  readonly nodes: readonly string[];
  readonly weight: string;
  readonly layout: 'in_out' | 'out_in';
  readonly in: number;
  readonly out: number;
  /** The kernel shape of a convolution. */
  readonly kernel?: readonly number[];
  readonly rank: number;
  /** Trainable parameters of the branch. */
  readonly parameters: number;
  readonly chosen: boolean;
  /** The reason why it was not selected. */
  readonly reason?: string;
}

export interface InspectOptions extends CompileOptions {
  /** Reports how each operator between the layers and the loss is differentiated. */
  readonly grad?: boolean | undefined;
  /** Reports subgraphs that almost match a function that the compiler recognizes, with the one difference. */
  readonly why?: boolean | undefined;
  /**
   * Estimates the memory of a training step for these dims: by the model's own symbols, or `batch` and `seq` for the
   * first and second axis of its inputs; `steps` is the number of steps per run (default 16 for cuda, else 1).
   */
  readonly memory?: Readonly<Record<string, number>> | undefined;
}

/** The gradients of the chosen layers, or the operators that block them. */
export interface InspectedGradient extends GradientReport {
  /** The number of nodes per operator that are treated equally, most first. */
  readonly operators: readonly (Pick<Differentiated, 'op' | 'by'> & {
    readonly adapted: boolean;
    readonly count: number;
  })[];
}

export interface Inspection {
  readonly file: string;
  readonly opset: number;
  readonly irVersion: number;
  readonly layers: readonly InspectedLayer[];
  readonly skipped: Manifest['skipped'];
  /** The loss that would be chosen, or the reason why none could be. */
  readonly loss:
    | {
        readonly kind: string;
        readonly output: string;
        readonly tensor: string;
        readonly reason: string;
        /** The labels in words; absent if the loss takes none. */
        readonly labels?: string;
      }
    | { readonly reason: string };
  /** Weights that would be rounded. */
  readonly precision?: NonNullable<Manifest['precision']>;
  /** Inputs of the model that would be bound in the training graphs, with their values. */
  readonly bound: NonNullable<Manifest['bound']>;
  readonly totals: {
    readonly layers: number;
    readonly chosen: number;
    readonly trainable: number;
    readonly total: number;
  };
  /** LoRA that the model already has: its modules, and what a compile does with it. */
  readonly existing?: NonNullable<Manifest['lora']['existing']>;
  /** The head of --head, or of the package. */
  readonly head?: NonNullable<Manifest['head']>;
  readonly warnings: readonly string[];
  /** Present with `grad`. */
  readonly gradient?: InspectedGradient;
  /** Present with `why`. */
  readonly nearMisses?: readonly NearMiss[];
  /** Present with `memory`: the estimate, or the reason why there is none. */
  readonly memory?: InspectedMemory | { readonly reason: string };
}

/**
 * The weighted layers of a model (or of a package's source), which would be adapted and why the others would not, the
 * loss that would be chosen, and with `grad` how the gradients are computed. Takes the selection options of `compile`.
 * A model without layers, or one that cannot be trained, is not an error here.
 */
export async function inspect(file: string, options: InspectOptions = {}): Promise<Inspection> {
  const { grad = false, why = false, memory, ...rest } = options;
  const opened = openInspected(file, resolveOptions(rest));
  const { options: resolved, manifest, family } = opened;
  const { model, source } = opened.parsed;
  try {
    const adapter = resolved.adapter === undefined ? undefined : openAdapter(resolved.adapter);
    joinCopies(model, manifest === undefined ? findCopies(model) : namedCopies(model, manifest.copies ?? []));
    const notes: string[] = [];
    const existing = treatExistingLora(model, resolved, (text) => notes.push(text));
    const found = withoutKept(findCandidates(model, adapter?.modules, namingOf(resolved, family)), existing);
    const whole = chooseModulesToSave(model, found.candidates, resolved, adapter, existing);
    const selection = select(model, found, resolved, adapter, whole, existing);
    const layers = selection.chosen.map((c) => c.layer);
    const dora = layers.some((l) => l.magnitude !== undefined) || resolved.dora;
    const byPath = new Map(layers.map((l) => [l.path, l]));
    const total = parameterCount(model, { found, layers: [] });
    const rows = found.candidates.map((c) =>
      rowOf(c, byPath.get(c.path), selection.left, { rank: resolved.rank, dora }),
    );
    const { candidates } = found;
    const usual = resolved.target !== undefined || candidates.some((c) => layerOp(c.op).byDefault);
    const nothing =
      layers.length === 0 && usual && candidates.length > 0
        ? [nothingSelected(selection, resolved.target).message]
        : [];
    const misses = why ? new NearMisses() : undefined;
    const { training, stored } = preparedFor(model, selection, whole, resolved, misses);
    const trainable =
      rows.reduce((n, l) => n + (l.chosen ? l.parameters : 0), 0) +
      whole.parameters.reduce((n, p) => n + sizeOf(p.tensor.dims), 0);
    return defined({
      file,
      opset: model.opsets.get('') ?? 0,
      irVersion: model.irVersion,
      layers: rows,
      skipped: [...found.skipped],
      loss: lossOf(training, resolved),
      precision: stored && precisionOf(stored, resolved),
      bound: training === undefined || training instanceof LoraifyError ? [] : boundOf(training),
      totals: { layers: rows.length, chosen: layers.length, trainable, total: total + trainable },
      existing: existingOf(existing),
      head: headSection(resolved.headPlan),
      warnings: [...opened.warnings, ...notes, ...selection.warnings, ...nothing, ...notesOf(training)],
      nearMisses: misses?.list,
      gradient: grad ? gradientOf(training, selection) : undefined,
      memory: memory && inspectedMemory({ file, manifest, training, parameters: total + trainable }, memory),
    });
  } finally {
    source.close();
  }
}

/** `otherwise`: the rank of a candidate that is not chosen. */
function rowOf(
  c: Candidate,
  chosen: Layer | undefined,
  left: Selection['left'],
  { rank: otherwise, dora }: { readonly rank: number; readonly dora: boolean },
): InspectedLayer {
  const { path, from, op, nodes, weight, layout, kernel, in: inputs, out } = c;
  const rank = chosen?.rank ?? otherwise;
  const { A, B } = factorShapes({ ...c, rank });
  return defined({
    path,
    from,
    op,
    nodes,
    weight,
    layout,
    kernel,
    in: inputs,
    out,
    rank,
    parameters: sizeOf(A) + sizeOf(B) + (dora ? out : 0),
    chosen: chosen !== undefined,
    reason: left.get(path),
  });
}

/** The graph that training would start from, undefined if no layer is chosen. Changes the model. */
function preparedFor(
  model: Model,
  selection: Selection,
  whole: ModulesToSave,
  options: ResolvedOptions,
  misses: NearMisses | undefined,
): { training: Prepared | LoraifyError | undefined; stored?: Stored | undefined } {
  const { chosen } = selection;
  if (chosen.length === 0) return { training: undefined };
  let stored: Stored | undefined;
  try {
    const adapted = adaptModel(model, selection, whole, options);
    stored = adapted.stored;
    // Masks do not affect differentiability.
    const layers = chosen.map((c) => c.layer);
    return {
      training: fixLengths(
        prepare(model, stateLayout(layers, adapted.saved), {
          ...trainingOptions(options, undefined, stored, 0),
          misses,
        }),
        fixedLengths(options),
      ),
      stored,
    };
  } catch (error) {
    // A model that cannot be trained is a result; an invalid option is an error.
    if (!(error instanceof LoraifyError) || error.code === 'BAD_OPTION') throw error;
    return { training: error, stored };
  }
}

const notesOf = (training: Prepared | LoraifyError | undefined): readonly string[] =>
  training === undefined || training instanceof LoraifyError ? [] : [...training.notes, ...training.warnings];

function lossOf(training: Prepared | LoraifyError | undefined, { ignoreIndex }: ResolvedOptions): Inspection['loss'] {
  if (training === undefined) return { reason: 'no layer is chosen' };
  if (training instanceof LoraifyError) return { reason: `${training.code}: ${training.message}` };
  const { kind, output, tensor, reason } = training.choice;
  return defined({
    kind,
    output,
    tensor,
    reason,
    labels: labelsText(training.choice, ignoreIndex),
  });
}

function gradientOf(training: Prepared | LoraifyError | undefined, { chosen }: Selection): InspectedGradient {
  const report = reportOf(training);
  // Adapted MatMuls are one operator in a training graph; the report names the source's operator.
  const sources = new Map(chosen.map((c) => [c.layer.path, c.candidate.op]));
  const nodes = report.nodes.map((n) => ({ ...n, op: sources.get(n.layer ?? '') ?? n.op }));
  const counts = new Map<string, InspectedGradient['operators'][number]>();
  for (const { op, by, layer } of nodes) {
    const adapted = layer !== undefined;
    const key = `${op} ${by} ${adapted}`;
    counts.set(key, { op, by, adapted, count: (counts.get(key)?.count ?? 0) + 1 });
  }
  const operators = [...counts.values()];
  operators.sort((a, b) => b.count - a.count || (a.op < b.op ? -1 : 1));
  return { operators, ...report, nodes };
}

/** An error in preparing the graph is reported as the blocker of the gradients. */
function reportOf(training: Prepared | LoraifyError | undefined): GradientReport {
  const none = { nodes: [], blocked: [], unreached: [] };
  if (training === undefined) return none;
  if (!(training instanceof LoraifyError)) return reportGradients(training);
  const { node, where } = training;
  return {
    ...none,
    blocked: [{ ...defined({ node }), ...reasonOf(training), path: where === undefined ? [] : [where] }],
  };
}
