/** Compiles a model in memory to all graphs of a package: the stages of a compile in their order. */
import { type OpenedAdapter, openAdapter } from '../adapter/index.ts';
import { customOperator, noLayers } from '../errors.ts';
import { cloneModel } from '../graph/clone.ts';
import { defaultOps, layerOp } from '../graph/layers.ts';
import { graphsOf, type Model, nameGiver, namesIn } from '../graph/model.ts';
import { builtinDomains } from '../graph/versions.ts';
import { checkBaseCopies } from '../package/baseCopies.ts';
import {
  type AdaptContext,
  adaptation,
  buildTraining,
  type Candidates,
  findCandidates,
  findCopies,
  findParameters,
  fixLengths,
  joinCopies,
  modelGraph,
  type OnPass,
  prepare,
  runStage,
  stateLayout,
  type TrainingGraph,
} from '../passes/index.ts';
import type { Compiled, CompileHooks, Selection } from './compiled.ts';
import { type TreatedLora, treatExistingLora, withoutKept } from './existingLora.ts';
import { chooseModulesToSave, type ModulesToSave } from './modulesToSave.ts';
import { type Emittable, emitted, halfTypeOf, type ResolvedOptions } from './options.ts';
import { dropoutOf, fixedLengths, namingOf, trainingOptions } from './passOptions.ts';
import { nothingSelected, selectFromAdapter, selectLayers } from './select.ts';
import { selectExisting } from './selectExisting.ts';

/** Compiles a model to all graphs of a package, in memory; weights are not copied. `model` is changed. */
export function compileModel(
  model: Model,
  options: ResolvedOptions,
  { onPass, onModel, family }: CompileHooks = {},
): Compiled {
  const adapter = options.adapter === undefined ? undefined : openAdapter(options.adapter);
  const copies = joinCopies(model, findCopies(model));
  const existing = treatExistingLora(model, options);
  const found = withoutKept(findCandidates(model, adapter?.modules, namingOf(options, family)), existing);
  const named = adapter !== undefined || existing.lifted.length > 0 || options.target !== undefined;
  if (!found.candidates.some((c) => named || layerOp(c.op).byDefault)) throw noLayers(whyNone(found));
  const whole = chooseModulesToSave(model, found.candidates, options, adapter, existing);
  const selection = select(model, found, options, adapter, whole, existing);
  if (selection.chosen.length === 0) throw nothingSelected(selection, options.target);
  const layers = selection.chosen.map((c) => c.layer);
  const decomposed = selection.chosen.find((c) => c.magnitude !== undefined);
  const packed = selection.chosen.find((c) => c.candidate.products.some((p) => p.part?.aliases !== undefined));
  const dropout = dropoutOf(options, adapter, decomposed?.candidate.path, packed?.candidate.path);
  const adapted = adaptModel(model, selection, whole, options, onPass);
  const { saved, stored } = adapted;
  const layout = stateLayout(layers, saved);

  const graphs = new Map<Emittable, Model>();
  const wanted = emitted(options);
  if (wanted.includes('model')) {
    const c = { model: cloneModel(model).model };
    runStage(modelGraph, c, onPass);
    graphs.set('model', c.model);
    onModel?.(c.model, stored);
  }
  const training = wanted.filter((w): w is TrainingGraph => w !== 'model');
  const prepared =
    training.length === 0
      ? undefined
      : fixLengths(prepare(model, layout, trainingOptions(options, onPass, stored, dropout)), fixedLengths(options));
  if (prepared !== undefined) {
    for (const which of training) graphs.set(which, buildTraining(prepared, which));
    for (const which of training) refuseCustom(graphs.get(which));
  }
  const { patterns: modulesToSave, names: savedNames } = whole;
  return {
    graphs,
    copies,
    existing,
    found,
    selection,
    layers,
    layout,
    dropout,
    saved,
    modulesToSave,
    savedNames,
    prepared,
    stored,
  };
}

/** Errors: CUSTOM_OPERATOR, with all of them by name. */
function refuseCustom(model: Model | undefined): void {
  const nodes = (model?.graph.allNodes() ?? []).filter((n) => n.domain !== '' && !builtinDomains.has(n.domain));
  const [first] = nodes;
  if (first === undefined) return;
  const names = [...new Set(nodes.map((n) => `${n.domain}.${n.op}`))];
  const are = names.length === 1 ? 'is no operator' : 'are no operators';
  throw customOperator(`${names.join(', ')} ${are} of ONNX Runtime`, { node: first.label });
}

/** The first stage: inserts a dialect node for each use of a chosen weight, and rounds frozen weights. In place. */
export function adaptModel(
  model: Model,
  { chosen }: Selection,
  { parameters, content }: ModulesToSave,
  options: ResolvedOptions,
  onPass?: OnPass,
): Pick<AdaptContext, 'saved' | 'stored'> {
  const halfType = halfTypeOf(options);
  const c: AdaptContext = { model, chosen, parameters, content, halfType, saved: [], stored: undefined };
  runStage(adaptation, c, onPass);
  return c;
}

/** The layers selected by the options, or by a PEFT adapter instead; possibly none. */
export function select(
  model: Model,
  { candidates: all, apart }: Pick<Candidates, 'candidates' | 'apart'>,
  options: ResolvedOptions,
  adapter: OpenedAdapter | undefined,
  whole: ModulesToSave,
  existing: TreatedLora,
): Selection {
  const modules = new Set(whole.parameters.map((p) => p.module));
  const rest = all.filter((c) => !modules.has(c.path));
  const selection =
    existing.lifted.length > 0
      ? selectExisting(rest, existing, nameGiver(namesIn(graphsOf(model))))
      : selectAmong(model, { candidates: rest, apart }, options, adapter);
  const copies = adapter?.copies ?? new Map();
  const notes = copies.size === 0 ? [] : checkBaseCopies(findParameters(model, all), copies, options.adapter ?? '');
  const chosen = selection.chosen.map((c) => ({ ...c, peft: c.peft ?? existing.peftName(c.layer.path) }));
  const taken = all.flatMap((c): [string, string][] =>
    modules.has(c.path) ? [[c.path, 'trained in full (modules_to_save)']] : [],
  );
  return {
    ...selection,
    chosen,
    warnings: [...selection.warnings, ...notes],
    left: new Map([...selection.left, ...taken]),
  };
}

function selectAmong(
  model: Model,
  found: Pick<Candidates, 'candidates' | 'apart'>,
  options: ResolvedOptions,
  adapter: OpenedAdapter | undefined,
): Selection {
  if (adapter !== undefined && options.adapter !== undefined)
    return selectFromAdapter(model, found, adapter, options.adapter);
  const { target, exclude, layers } = options;
  return selectLayers(model, found.candidates, { ...options, target, exclude, layers });
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
