/** `--head`: opens the source with its head, and gives the options that follow from the head their values. */
import { type OpenedAdapter, openAdapter } from '../adapter/index.ts';
import { badOption, notTaken } from '../errors.ts';
import {
  type HeadKind,
  type HeadOption,
  headOptions,
  heads,
  headsOfClasses,
  headsOfLoss,
  headsWith,
} from '../graph/choices/heads.ts';
import { type LossKind, losses } from '../graph/choices/losses.ts';
import { withHead } from '../package/headedSource.ts';
import type { Parsed } from '../parser/index.ts';
import { type HeadPlan, planHead } from '../passes/index.ts';
import type { CompileHooks } from './compiled.ts';
import type { LabelSources } from './labelNames.ts';
import type { ResolvedOptions } from './options.ts';

/** The options of a compile that concern a head. */
export interface HeadOptions {
  readonly head?: HeadKind | undefined;
  readonly loss: LossKind | 'auto';
  readonly lossOutput?: string | undefined;
}

/** Throws BAD_OPTION for an option that the head does not take, or that is for heads only. @param given its names. */
export function checkHead({ head, loss, lossOutput }: HeadOptions, given: readonly string[]): void {
  const options = headOptions.filter((name) => given.includes(name));
  if (head === undefined) {
    const [stray] = options;
    if (stray !== undefined) throw notTaken(stray, 'a compile without --head', headsWith(stray).map(withFlag));
    return;
  }
  const other = options.find((name: HeadOption) => !headsWith(name).includes(head));
  if (other !== undefined) throw notTaken(other, withFlag(head), headsWith(other).map(withFlag));
  if (given.includes('labels') && !headsOfClasses.includes(head))
    throw notTaken('labels', withFlag(head), headsOfClasses.map(withFlag));
  if (loss !== 'auto' && !heads[head].losses.includes(loss))
    throw badOption(
      `--loss ${loss} does not apply to --head ${head}`,
      `leave it out for ${heads[head].losses[0]}, or choose one of ${heads[head].losses.join(', ')}${headsOfLoss(loss).length === 0 ? '' : `; ${loss} is for ${headsOfLoss(loss).map(withFlag).join(', ')}`}`,
    );
  if (lossOutput !== undefined)
    throw badOption(
      `--loss-output ${lossOutput} does not apply to --head ${head}: the loss is on the head's output`,
      'leave one of them out',
    );
}

const withFlag = (head: HeadKind): string => `--head ${head}`;

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
  { family, onPass }: Pick<CompileHooks, 'family' | 'onPass'>,
): Headed {
  const { head: kind } = options;
  if (kind === undefined) return { parsed, options, warnings: [] };
  try {
    const adapter = options.adapter === undefined ? undefined : openAdapter(options.adapter);
    const { plan, warnings } = planHead(parsed.model, {
      kind,
      input: options.headInput,
      pooling: options.pooling,
      classes: labels.given?.count ?? labels.config?.count,
      size: options.headSize,
      normalize: options.normalize ?? true,
      seed: options.seed,
      family,
      saved: adapter && savedLinear(adapter),
    });
    const loss = options.loss === 'auto' ? (heads[kind].losses[0] ?? options.loss) : options.loss;
    checkClasses(plan, loss);
    return { parsed: withHead(parsed, plan, onPass), options: { ...options, loss, headPlan: plan }, warnings };
  } catch (error) {
    parsed.source.close();
    throw error;
  }
}

function checkClasses({ kind, linear }: HeadPlan, loss: HeadOptions['loss']): void {
  if (loss === 'auto' || heads[kind].outputs !== 'classes' || losses[loss].over !== 'classes' || linear?.size !== 1)
    return;
  throw badOption(
    `--head ${kind} with one class has nothing to choose from`,
    'use --loss bce for yes or no, or --head regression for a number',
  );
}

/** The Linear whose weights an adapter brings (modules_to_save): the one module that ends like a head's. */
function savedLinear({ saved }: OpenedAdapter): { path: string; size: number; bias: boolean } | undefined {
  const found = [...saved].flatMap(([name, { shape }]) => {
    const path = /^((?:.*\.)?(?:classifier|score))\.weight$/.exec(name)?.[1];
    const [size] = shape;
    return path === undefined || size === undefined || shape.length !== 2
      ? []
      : [{ path, size, bias: saved.has(`${path}.bias`) }];
  });
  return found.length === 1 ? found[0] : undefined;
}
