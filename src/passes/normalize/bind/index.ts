/**
 * Binds inputs of a model that a training step does not take from its data: key/value caches are empty (or zeros, if
 * their size is fixed), inputs for a decoder's position are computed from the tokens, `--bind` binds any others.
 * Outputs that return a cache are removed. In place, on a graph of one opset with inferred types, before its shape
 * arithmetic is folded: a dim of 0 then makes `past + sequence` the sequence.
 */
import { badOption, didYouMean } from '../../../errors.ts';
import { type Dim, type Model, replaceUses, type Value } from '../../../graph/model.ts';
import type { DataType } from '../../../graph/tensor.ts';
import { type Absent, absentInputs } from './absent.ts';
import { type Filled, groundOf } from './ground.ts';
import { cachesAmong } from './isCache.ts';
import { cacheKind } from './names.ts';
import { dropPresents } from './presents.ts';
import { ruleFor } from './rules.ts';
import { atStart } from './start.ts';
import { retype } from './symbols.ts';
import { asWanted, type Binding } from './wanted.ts';

export type { Absent } from './absent.ts';
export type { Binding } from './wanted.ts';

/** An input that is constant or computed in the training graphs. */
export interface Bound {
  readonly name: string;
  readonly dtype: DataType | undefined;
  /** The shape in the model. */
  readonly shape: readonly Dim[] | undefined;
  /** A description of its value. */
  readonly value: string;
}

export interface Bindings {
  readonly bound: readonly Bound[];
  /** The input with the tokens. */
  readonly tokens: string | undefined;
  /** The number of tokens that fit in caches of fixed size. */
  readonly longest: number | undefined;
  /** Default values of inputs that a data file lacks. */
  readonly absent: ReadonlyMap<string, Absent>;
}

export type Wanted = ReadonlyMap<string, Binding>;

/**
 * @param wanted the values of `--bind`, by input.
 * @param lossOutput an output that the user chose for the loss: it is kept. Throws CACHE_UNCLEAR for an input that is
 * named like a cache but cannot be initialized, BAD_OPTION for a binding that does not fit.
 */
export function bindInputs(model: Model, wanted: Wanted, lossOutput: string | undefined): Bindings {
  const { graph } = model;
  checkNames(graph.inputs, wanted);
  const free = graph.inputs.filter((v) => !wanted.has(v.name));
  const given = graph.inputs.filter((v) => wanted.has(v.name) && wanted.get(v.name) !== 'input');
  const caches = cachesAmong(free, graph);
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

  dropPresents(graph, new Set([...fills.keys()].filter((v) => cacheKind(v.name) !== undefined)), lossOutput);
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

/** A mask of ones adds nothing to the tokens; a mask from a file replaces the input. */
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
