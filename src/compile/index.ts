/**
 * What a user can have done: each function is a short chain of rooms.
 *
 *   parse -> candidates -> select -> adapt -+-> lower beside the base -> model.onnx
 *                                           +-> prepare -> train, train_k, eval, grad, update
 *   weights planned once for all graphs -> package
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { basename, join, relative, resolve } from 'node:path';
import { type OpenedAdapter, openAdapter, writePeft } from '../adapter/index.ts';
import {
  checkFolderTarget,
  createFolder,
  encodeModel,
  planWeights,
  type StartedWeights,
  startWeights,
  writeSkeleton,
  writeWeights,
} from '../emit/index.ts';
import { noLayers } from '../errors.ts';
import { type Manifest, manifestFormat, manifestName, manifestText } from '../formats/manifest.ts';
import { cloneModel } from '../graph/clone.ts';
import { defaultOps, layerOp } from '../graph/layers.ts';
import type { Layer, Model } from '../graph/model.ts';
import { adapterFolder, peftContent } from '../package/adapters.ts';
import { parseFile } from '../parser/index.ts';
import {
  adapt,
  buildTraining,
  type Candidate,
  type Candidates,
  findCandidates,
  fixLengths,
  lowerBeside,
  type Prepared,
  prepare,
  rebase,
  type Saved,
  type StateLayout,
  type Stored,
  stateLayout,
  storeHalf,
  type TrainingGraph,
  trainWhole,
  verify,
} from '../passes/index.ts';
import { version } from '../version.ts';
import { buildManifest } from './buildManifest.ts';
import { dumper } from './dump.ts';
import { initialParams } from './initialFactors.ts';
import { chooseWhole, type Whole } from './modulesToSave.ts';
import {
  type CompileOptions,
  type Emittable,
  emitted,
  halfTypeOf,
  type ResolvedOptions,
  resolveOptions,
} from './options.ts';
import { dropoutOf, fixedLengths, trainingOptions } from './passOptions.ts';
import { nothingSelected, type Selection, selectFromAdapter, selectLayers } from './select.ts';

export interface Compiled {
  readonly graphs: ReadonlyMap<Emittable, Model>;
  readonly found: Candidates;
  readonly selection: Selection;
  readonly layers: readonly Layer[];
  readonly layout: StateLayout;
  readonly dropout: number;
  /** Weights that are trained themselves, in the order of the state, and what their modules were asked for by. */
  readonly saved: readonly Saved[];
  readonly modulesToSave: readonly string[];
  /** Absent where only `model` is emitted. */
  readonly prepared: Prepared | undefined;
  /** Weights that are stored in a half type. */
  readonly stored: Stored | undefined;
}

export interface CompileHooks {
  /** Called with a name and the model after each pass. */
  readonly trace?: ((pass: string, model: Model) => void) | undefined;
  /** Called as soon as model.onnx is made, before the training graphs are. */
  readonly onModel?: (model: Model, stored: Stored | undefined) => void;
}

/** Model -> all graphs of a package, in memory; weights stay where they are. `model` is changed. */
export function compileModel(model: Model, options: ResolvedOptions, { trace, onModel }: CompileHooks = {}): Compiled {
  const adapter = options.adapter === undefined ? undefined : openAdapter(options.adapter);
  const found = findCandidates(model, adapter?.modules);
  const named = adapter !== undefined || options.target !== undefined;
  if (!found.candidates.some((c) => named || layerOp(c.op).byDefault)) throw noLayers(whyNone(found));
  const whole = chooseWhole(model, found.candidates, options, adapter);
  const selection = select(model, found, options, adapter, whole);
  if (selection.chosen.length === 0) throw nothingSelected(selection, options.target);
  const layers = selection.chosen.map((c) => c.layer);
  const decomposed = selection.chosen.find((c) => c.magnitude !== undefined);
  const packed = selection.chosen.find((c) => c.candidate.products.some((p) => p.part !== undefined));
  const dropout = dropoutOf(options, adapter, decomposed?.candidate.path, packed?.candidate.path);
  const saved = trainWhole(model, whole.parameters, whole.content);
  rebase(model, selection.chosen);
  adapt(model, selection.chosen);
  const layout = stateLayout(layers, saved);
  verify(model, { internal: true });
  trace?.('adapt', model);
  const stored = storedHalf(model, options);
  if (stored !== undefined) trace?.('precision', model);

  const graphs = new Map<Emittable, Model>();
  const wanted = emitted(options);
  if (wanted.includes('model')) {
    const { model: beside } = cloneModel(model);
    lowerBeside(beside);
    // Initializers that are no inputs exist since IR 4.
    beside.irVersion = Math.max(beside.irVersion, 4);
    verify(beside);
    trace?.('model', beside);
    graphs.set('model', beside);
    onModel?.(beside, stored);
  }
  const training = wanted.filter((w): w is TrainingGraph => w !== 'model');
  const prepared =
    training.length === 0
      ? undefined
      : fixLengths(prepare(model, layout, trainingOptions(options, trace, stored, dropout)), fixedLengths(options));
  if (prepared !== undefined) for (const which of training) graphs.set(which, buildTraining(prepared, which));
  const { patterns: modulesToSave } = whole;
  return { graphs, found, selection, layers, layout, dropout, saved, modulesToSave, prepared, stored };
}

/** Weights of an adapted model rounded as the options ask. In place. */
export function storedHalf(model: Model, options: ResolvedOptions): Stored | undefined {
  const type = halfTypeOf(options);
  if (type === undefined) return undefined;
  const stored = storeHalf(model, type);
  if (stored !== undefined) verify(model, { internal: true });
  return stored;
}

/** The layers that the options, or a PEFT adapter in their place, choose: perhaps none. */
export function select(
  model: Model,
  { candidates: all }: Candidates,
  options: ResolvedOptions,
  adapter: OpenedAdapter | undefined,
  whole?: Whole,
): Selection {
  const modules = new Set(whole?.parameters.map((p) => p.module));
  const rest = all.filter((c) => !modules.has(c.path));
  const selection = selectAmong(model, rest, options, adapter);
  const taken = all.flatMap((c): [string, string][] =>
    modules.has(c.path) ? [[c.path, 'trained itself (modules_to_save)']] : [],
  );
  return { ...selection, left: new Map([...selection.left, ...taken]) };
}

function selectAmong(
  model: Model,
  candidates: readonly Candidate[],
  options: ResolvedOptions,
  adapter: OpenedAdapter | undefined,
): Selection {
  if (adapter !== undefined && options.adapter !== undefined)
    return selectFromAdapter(model, candidates, adapter, options.adapter);
  const { target, exclude, layers } = options;
  return selectLayers(model, candidates, { ...options, target, exclude, layers });
}

function whyNone({ candidates, skipped }: Candidates): string {
  const usual = `${defaultOps.slice(0, -1).join(', ')} or ${defaultOps.at(-1)}`;
  const others = [...new Set(candidates.map((c) => c.op))].map(
    (op) => `${candidates.filter((c) => c.op === op).length} ${op}`,
  );
  const beside = others.length === 0 ? '' : `; ${others.join(' and ')} can be adapted, which --target asks for`;
  const [first] = skipped.filter((s) => layerOp(s.op).byDefault);
  if (first === undefined) return `the model has no ${usual} at all${beside}`;
  const count = skipped.filter((s) => layerOp(s.op).byDefault).length;
  return `none of the ${count} ${usual} nodes has a weight that can be adapted; "${first.node}": ${first.reason}${beside}`;
}

export interface CompileResult {
  /** The package directory (what it would be, for a dry run). */
  readonly dir: string;
  readonly manifest: Manifest;
  /** What a user should know though nothing failed. */
  readonly warnings: readonly string[];
  /** Bytes of each graph written, by file name; empty for a dry run. */
  readonly files: Readonly<Record<string, number>>;
}

/**
 * Compiles an ONNX file into a package directory: the adapted model, training graphs that stock ONNX Runtime executes, the
 * weights once, the initial adapter and a manifest. Nothing is written unless everything could be built.
 *
 * Errors: those of parsing, NO_LAYERS, NO_TARGETS, NO_GRADIENT, BAD_LOSS, BAD_OPTION, ADAPTER_MISMATCH, TARGET_EXISTS, WRITE_FAILED.
 */
export async function compile(file: string, options: CompileOptions = {}): Promise<CompileResult> {
  const resolved = resolveOptions(options);
  const dir = resolved.out ?? defaultOut(file);
  const { adapter } = resolved;
  const target = {
    force: resolved.force,
    protect: [file, ...(adapter === undefined ? [] : [adapter])],
    marker: manifestName,
  };
  if (!resolved.dryRun) checkFolderTarget(dir, target);
  const { model, source } = parseFile(file);
  try {
    const trace = dumper(resolved.dump);
    const files: Record<string, number> = {};
    // Files of exact weights would be most of a package that rounds them: it refers to the source instead.
    const copied = (stored: Stored | undefined) => (stored === undefined ? source.externalFiles : []);
    const common = {
      file: basename(file),
      bytes: source.bytes.size,
      path: relative(resolve(dir), resolve(file)),
      data: source.externalFiles.map((f) => f.location),
      format: manifestFormat,
      version,
      model,
      options: resolved,
    } as const;
    if (resolved.dryRun) {
      const compiled = compileModel(model, resolved, { trace });
      const manifest = buildManifest({ ...common, compiled, skeleton: { sha256: '0'.repeat(64), splices: [] } });
      return { dir, manifest, warnings: warningsOf(compiled, resolved), files };
    }
    return await createFolder(dir, target, async (folder) => {
      let started: StartedWeights | undefined;
      try {
        // model.onnx reads nearly all weights: they are copied while the training graphs are made.
        const onModel = (made: Model, stored: Stored | undefined): void => {
          started = startWeights(planWeights([made], copied(stored)), folder);
        };
        const compiled = compileModel(model, resolved, { trace, onModel });
        const plan = planWeights([...compiled.graphs.values()], copied(compiled.stored));
        for (const [name, graph] of compiled.graphs) {
          const bytes = encodeModel(graph, plan.placements);
          writeFileSync(join(folder, `${name}.onnx`), bytes);
          files[`${name}.onnx`] = bytes.length;
        }
        const skeleton = writeSkeleton(source, plan, folder);
        const manifest = buildManifest({ ...common, compiled, skeleton, weightsFile: plan.file?.name });
        mkdirSync(join(folder, adapterFolder));
        writePeft(join(folder, adapterFolder), peftContent(manifest, initialParams(compiled)));
        writeFileSync(join(folder, manifestName), manifestText(manifest));
        await writeWeights(plan, folder, started);
        return { dir, manifest, warnings: warningsOf(compiled, resolved), files };
      } finally {
        await started?.end();
      }
    });
  } finally {
    source.close();
  }
}

const defaultOut = (file: string): string => `${basename(file).replace(/\.onnx$/, '')}.lora`;

function warningsOf({ selection, prepared, stored }: Compiled, options: ResolvedOptions): string[] {
  const type = halfTypeOf(options);
  const same =
    type === undefined || stored !== undefined
      ? []
      : [`--precision ${options.precision} changes nothing: the weights are ${type} already`];
  return [...selection.warnings, ...same, ...(prepared?.notes ?? [])];
}
