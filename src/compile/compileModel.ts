/** Compiles a model in memory to all graphs of a package: the stages of a compile in their order. */
import { type OpenedAdapter, openAdapter } from '../adapter/index.ts';
import { noLayers } from '../errors.ts';
import { cloneModel } from '../graph/clone.ts';
import { defaultOps, layerOp } from '../graph/layers.ts';
import type { Model } from '../graph/model.ts';
import {
  adapt,
  buildTraining,
  type Candidate,
  type Candidates,
  findCandidates,
  fixLengths,
  lowerBeside,
  prepare,
  rebase,
  type Stored,
  stateLayout,
  storeHalf,
  type TrainingGraph,
  trainModulesToSave,
  verify,
} from '../passes/index.ts';
import type { Compiled, CompileHooks, Selection } from './compiled.ts';
import { chooseModulesToSave, type ModulesToSave } from './modulesToSave.ts';
import { type Emittable, emitted, halfTypeOf, type ResolvedOptions } from './options.ts';
import { dropoutOf, fixedLengths, trainingOptions } from './passOptions.ts';
import { nothingSelected, selectFromAdapter, selectLayers } from './select.ts';

/** Compiles a model to all graphs of a package, in memory; weights are not copied. `model` is changed. */
export function compileModel(model: Model, options: ResolvedOptions, { trace, onModel }: CompileHooks = {}): Compiled {
  const adapter = options.adapter === undefined ? undefined : openAdapter(options.adapter);
  const found = findCandidates(model, adapter?.modules);
  const named = adapter !== undefined || options.target !== undefined;
  if (!found.candidates.some((c) => named || layerOp(c.op).byDefault)) throw noLayers(whyNone(found));
  const whole = chooseModulesToSave(model, found.candidates, options, adapter);
  const selection = select(model, found, options, adapter, whole);
  if (selection.chosen.length === 0) throw nothingSelected(selection, options.target);
  const layers = selection.chosen.map((c) => c.layer);
  const decomposed = selection.chosen.find((c) => c.magnitude !== undefined);
  const packed = selection.chosen.find((c) => c.candidate.products.some((p) => p.part !== undefined));
  const dropout = dropoutOf(options, adapter, decomposed?.candidate.path, packed?.candidate.path);
  const saved = trainModulesToSave(model, whole.parameters, whole.content);
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
    // Initializers that are not inputs exist since IR 4.
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

/** Rounds the weights of an adapted model as the options require. In place. */
export function storedHalf(model: Model, options: ResolvedOptions): Stored | undefined {
  const type = halfTypeOf(options);
  if (type === undefined) return undefined;
  const stored = storeHalf(model, type);
  if (stored !== undefined) verify(model, { internal: true });
  return stored;
}

/** The layers selected by the options, or by a PEFT adapter instead; possibly none. */
export function select(
  model: Model,
  { candidates: all }: Candidates,
  options: ResolvedOptions,
  adapter: OpenedAdapter | undefined,
  whole?: ModulesToSave,
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
