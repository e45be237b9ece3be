/** `--head`: opens the source with its head, and gives the options that follow from the head their values. */
import { type OpenedAdapter, openAdapter } from '../adapter/index.ts';
import { badOption } from '../errors.ts';
import type { Manifest } from '../formats/manifest.ts';
import { heads } from '../graph/choices/heads.ts';
import { losses } from '../graph/choices/losses.ts';
import { withHead } from '../package/headedSource.ts';
import { openModel } from '../package/open.ts';
import type { Parsed } from '../parser/index.ts';
import { type HeadPlan, planHead } from '../passes/index.ts';
import type { CompileHooks } from './compiled.ts';
import { type LabelSources, labelSources } from './labelNames.ts';
import { modelFamily, modelPooling } from './modelConfig.ts';
import { headModule } from './modulesToSave.ts';
import type { ResolvedOptions } from './options.ts';

/** The source with its head, and the options of its compile. */
export interface Headed {
  readonly parsed: Parsed;
  readonly options: ResolvedOptions;
  readonly warnings: readonly string[];
}

/** Without `--head` the source as it is. `parsed` is closed with the result, and after an error. Errors: BAD_OPTION. */
export function openHead(
  parsed: Parsed,
  options: ResolvedOptions,
  labels: LabelSources,
  { file, family, onPass }: Pick<CompileHooks, 'family' | 'onPass'> & { readonly file: string },
): Headed {
  const { head: kind } = options;
  if (kind === undefined) return { parsed, options, warnings: [] };
  try {
    const adapter = options.adapter === undefined ? undefined : openAdapter(options.adapter);
    const { plan, warnings } = planHead(parsed.model, {
      kind,
      input: options.headInput,
      pooling: options.pooling,
      usual: modelPooling(file),
      classes: labels.given?.count ?? labels.config?.count,
      size: options.headSize,
      normalize: options.normalize ?? true,
      seed: options.seed,
      family,
      saved: adapter && savedLinear(adapter),
    });
    const planned = optionsFor(options, plan);
    checkClasses(plan, planned.loss);
    return { parsed: withHead(parsed, plan, onPass), options: planned, warnings };
  } catch (error) {
    parsed.source.close();
    throw error;
  }
}

/** The loss of `auto` is that of the head. */
const optionsFor = (options: ResolvedOptions, plan: HeadPlan): ResolvedOptions => ({
  ...options,
  loss: options.loss === 'auto' ? (heads[plan.kind].losses[0] ?? options.loss) : options.loss,
  headPlan: plan,
});

function checkClasses({ kind, linear }: HeadPlan, loss: ResolvedOptions['loss']): void {
  if (loss === 'auto' || heads[kind].outputs !== 'classes' || losses[loss].over !== 'classes' || linear?.size !== 1)
    return;
  throw badOption(
    `--head ${kind} with one class has nothing to choose from`,
    'use --loss bce for yes or no, or --head regression for a number',
  );
}

/** The Linear whose weights an adapter brings (modules_to_save), if there is one. */
function savedLinear({ saved }: OpenedAdapter): { path: string; size: number; bias: boolean } | undefined {
  const found = [...saved].flatMap(([name, { shape }]) => {
    const path = headModule(name);
    const [size] = shape;
    return path === undefined || size === undefined || shape.length !== 2
      ? []
      : [{ path, size, bias: saved.has(`${path}.bias`) }];
  });
  return found.length === 1 ? found[0] : undefined;
}

/** A model with the requested head, or the source of a package with its own. Errors: BAD_OPTION. */
export function openInspected(file: string, asked: ResolvedOptions): Inspected {
  const { manifest, ...parsed } = openModel(file);
  const head = manifest?.head;
  const family = modelFamily(file)?.type;
  if (head !== undefined && asked.head !== undefined) {
    parsed.source.close();
    throw badOption('--head: the source of this package has its head already', 'inspect the model file instead');
  }
  const options = head === undefined ? asked : optionsFor(asked, head);
  return { ...openHead(parsed, options, labelSources(asked.labels, file), { file, family }), manifest, family };
}

/** An opened model, and the manifest of the package that it is the source of. */
interface Inspected extends Headed, Pick<CompileHooks, 'family'> {
  readonly manifest: Manifest | undefined;
}
