/** modules_to_save: the selection by options, by a head or an adapter, and the weights from the adapter. */

import type { OpenedAdapter } from '../adapter/index.ts';
import { adapterMismatch, badOption, didYouMean } from '../errors.ts';
import { onlyModule } from '../formats/peftPattern.ts';
import type { Model } from '../graph/model.ts';
import type { Tensor } from '../graph/tensor.ts';
import { storedValues, typedTensor } from '../package/modulesToSave.ts';
import { type Candidate, findParameters, type Parameter, parametersOf } from '../passes/index.ts';
import type { TreatedLora } from './existingLora.ts';
import type { ResolvedOptions } from './options.ts';

/** The weights that are trained in addition to the layers. */
export interface ModulesToSave {
  readonly parameters: readonly Parameter[];
  /** The suffixes of module names, for PEFT. */
  readonly patterns: readonly string[];
  /** The names of parameters in the adapter that they come from, where they differ from the model's. */
  readonly names: ReadonlyMap<string, string>;
  /** The content from an adapter, in the type of the weight. */
  readonly content: (p: Parameter) => Tensor | undefined;
}

/**
 * Errors: BAD_OPTION for names that match no module, ADAPTER_MISMATCH for weights of the adapter that do not match the
 * model's.
 */
export function chooseModulesToSave(
  model: Model,
  candidates: readonly Candidate[],
  options: Pick<ResolvedOptions, 'modulesToSave' | 'adapter' | 'headPlan'>,
  adapter: OpenedAdapter | undefined,
  existing: TreatedLora,
): ModulesToSave {
  const chosen = withoutHead(model, candidates, options, adapter, existing);
  const { linear } = options.headPlan ?? {};
  if (linear === undefined) return chosen;
  const head = findParameters(model, candidates).filter((p) => p.module === linear.path);
  const paths = new Set(chosen.parameters.map((p) => p.path));
  return {
    ...chosen,
    parameters: [...chosen.parameters, ...head.filter((p) => !paths.has(p.path))],
    patterns: [...new Set([...chosen.patterns, linear.path])],
  };
}

function withoutHead(
  model: Model,
  candidates: readonly Candidate[],
  { modulesToSave, adapter: file }: Pick<ResolvedOptions, 'modulesToSave' | 'adapter'>,
  adapter: OpenedAdapter | undefined,
  existing: TreatedLora,
): ModulesToSave {
  if (adapter !== undefined) return adapter.saved.size === 0 ? none : fromAdapter(model, candidates, adapter, file);
  const earlier = existing.lifted.length > 0;
  if (modulesToSave === undefined && !earlier) return none;
  const parameters = findParameters(model, candidates);
  const { chosen: named, unmatched } = parametersOf(parameters, modulesToSave ?? []);
  // PEFT's modules_to_save of the LoRA that the file has are trained on with it.
  const before = earlier ? parameters.filter((p) => existing.isSaved(p.module)) : [];
  const [stray] = unmatched;
  if (stray !== undefined) {
    const modules = [...new Set(parameters.map((p) => p.module))];
    throw badOption(
      `--modules-to-save: no module's name ends with "${stray}"${didYouMean(stray, modules)}`,
      'loraify inspect lists the modules; a module is found by its weights',
    );
  }
  const chosen = parameters.filter((p) => named.includes(p) || before.includes(p));
  const nameOf = (p: Parameter): string => `${existing.peftName(p.module)}${p.path.slice(p.module.length)}`;
  const lasts = before.map((p) => existing.peftName(p.module).replace(/^.*\./, ''));
  return {
    parameters: chosen,
    patterns: [...new Set([...(modulesToSave ?? []), ...lasts])],
    names: new Map(chosen.flatMap((p) => (nameOf(p) === p.path ? [] : [[p.path, nameOf(p)]]))),
    content: () => undefined,
  };
}

const none: ModulesToSave = { parameters: [], patterns: [], names: new Map(), content: () => undefined };

/** The module of a parameter that transformers has in a head; undefined for one of a body. */
export const headModule = (parameter: string): string | undefined =>
  /^((?:.*\.)?(?:classifier|score))\.(?:weight|bias)$/.exec(parameter)?.[1];

/** The full weights of an adapter, with their content. */
function fromAdapter(
  model: Model,
  candidates: readonly Candidate[],
  adapter: OpenedAdapter,
  file: string | undefined,
): ModulesToSave {
  const found = new Map<Parameter, Tensor>();
  const names = new Map<string, string>();
  const parameters = findParameters(model, candidates);
  for (const [name, tensor] of adapter.saved) {
    const parameter = onlyModule(parameters, (p) => p.path, name);
    if (parameter === undefined || found.has(parameter))
      throw adapterMismatch(
        `the model has no weight "${name}" of its own${didYouMean(
          name,
          parameters.map((p) => p.path),
        )}`,
        file,
        headModule(name) !== undefined
          ? 'if it belongs to a head that the exported body lacks, --head puts one on the model'
          : undefined,
      );
    if (parameter.path !== name) names.set(parameter.path, name);
    const { dims, dtype } = parameter.tensor;
    found.set(
      parameter,
      typedTensor(
        dtype,
        dims,
        storedValues({ parameter: name, shape: dims, turned: parameter.transposed }, tensor, file),
      ),
    );
  }
  return {
    parameters: parameters.filter((p) => found.has(p)),
    patterns: adapter.modulesToSave,
    names,
    content: (p) => found.get(p),
  };
}
