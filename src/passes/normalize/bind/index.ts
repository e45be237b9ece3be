/**
 * Fixes inputs of a model that a training step does not take from its data: key/value caches are empty (or zeros, where their
 * length is fixed), what says where a decoder stands is computed from the tokens, `--bind` fixes whatever else. Outputs that hand
 * a cache on go. In place, on a graph of one opset whose types are known, before its shape arithmetic is folded: a length of 0
 * then makes `past + sequence` the sequence.
 */
import { badOption, didYouMean } from '../../../errors.ts';
import { type Dim, type Model, replaceUses, type Value } from '../../../graph/model.ts';
import type { DataType } from '../../../graph/tensor.ts';
import { type Absent, absentInputs } from './absent.ts';
import { type Filled, groundOf } from './ground.ts';
import { cacheKind } from './names.ts';
import { dropPresents } from './presents.ts';
import { ruleFor } from './rules.ts';
import { atStart } from './start.ts';
import { retype } from './symbols.ts';
import { asWanted, type Binding } from './wanted.ts';

export type { Absent } from './absent.ts';
export type { Binding } from './wanted.ts';

/** An input that the training graphs fix. */
export interface Bound {
  readonly name: string;
  readonly dtype: DataType | undefined;
  /** As the model has it. */
  readonly shape: readonly Dim[] | undefined;
  /** To what, for people. */
  readonly value: string;
}

export interface Bindings {
  readonly bound: readonly Bound[];
  /** The input with the tokens. */
  readonly tokens: string | undefined;
  /** How many tokens caches of fixed length hold. */
  readonly longest: number | undefined;
  /** What stands for an input that a data file lacks. */
  readonly absent: ReadonlyMap<string, Absent>;
}

export type Wanted = ReadonlyMap<string, Binding>;

/**
 * @param wanted what `--bind` says, by input.
 * @param asked an output that a loss was asked for on: it stays.
 * Throws CACHE_UNCLEAR for an input that is named like a cache but cannot be filled, BAD_OPTION for a binding that does not fit.
 */
export function bindInputs(model: Model, wanted: Wanted, asked: string | undefined): Bindings {
  const { graph } = model;
  checkNames(graph.inputs, wanted);
  const free = graph.inputs.filter((v) => !wanted.has(v.name));
  const given = graph.inputs.filter((v) => wanted.has(v.name) && wanted.get(v.name) !== 'input');
  // What nobody reads leaves the training graphs by itself.
  const caches = free.filter((v) => cacheKind(v.name) !== undefined && v.uses.size > 0);
  const ruled = free.filter((v) => cacheKind(v.name) === undefined && ruleFor(v) !== undefined);
  const fixed = new Set([...caches, ...ruled, ...given]);
  const rest = graph.inputs.filter((v) => !fixed.has(v));
  const cached = [...caches, ...given].some((v) => cacheKind(v.name) !== undefined);
  const ground = groundOf(rest, graph.inputs, cached);

  const fills = new Map<Value, Filled>();
  const fill = (v: Value, rule: string, make: () => Filled | undefined): void => {
    const made = ground.g.within({ origin: v.name, rule }, make);
    if (made !== undefined) fills.set(v, made);
  };
  for (const v of caches) fill(v, 'bind/cache', () => atStart(v, ground));
  for (const v of given) {
    const binding = wanted.get(v.name);
    if (binding !== undefined && binding !== 'input') fill(v, 'bind/option', () => asWanted(v, binding, ground));
  }
  const mask = ground.mask === undefined ? undefined : maskNow(ground.mask, wanted, fills);
  for (const v of ruled) {
    const rule = ruleFor(v);
    if (rule !== undefined) fill(v, rule.name, () => rule.fill({ ...ground, mask, v }));
  }

  dropPresents(graph, new Set([...fills.keys()].filter((v) => cacheKind(v.name) !== undefined)), asked);
  const bound = graph.inputs.flatMap((v): Bound[] => {
    const made = fills.get(v);
    return made === undefined ? [] : [{ name: v.name, dtype: v.dtype, shape: v.shape, value: made.text }];
  });
  for (const [v, { value }] of fills) replaceUses(v, value);
  const kept = graph.inputs.filter((v) => !fills.has(v));
  graph.inputs.length = 0;
  graph.inputs.push(...kept);
  retype(model, ground.symbols);
  const holds = [...fills.values()].flatMap((f) => f.holds ?? []);
  return {
    bound,
    tokens: ground.tokens?.name,
    longest: holds.length === 0 ? undefined : Math.min(...holds),
    absent: absentInputs(graph.inputs, ground.tokens),
  };
}

/** A mask of ones says no more than the tokens do; one from a file stands for the input. */
function maskNow(mask: Value, wanted: Wanted, fills: ReadonlyMap<Value, Filled>): Value | undefined {
  return wanted.get(mask.name) === 'ones' ? undefined : (fills.get(mask)?.value ?? mask);
}

function checkNames(inputs: readonly Value[], wanted: Wanted): void {
  const names = inputs.map((v) => v.name);
  for (const name of wanted.keys()) {
    const near = didYouMean(name, names) || `; the inputs are ${names.join(', ')}`;
    if (!names.includes(name)) throw badOption(`--bind: the model has no input "${name}"${near}`);
  }
}
