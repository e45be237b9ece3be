/**
 * Fixes inputs of a model that a training step does not take from its data: key/value caches are empty (or zeros, where their
 * length is fixed), what says where a decoder stands is computed from the tokens, `--bind` fixes whatever else. Outputs that hand
 * a cache on go. In place, on a graph of one opset whose types are known, before its shape arithmetic is folded: a length of 0
 * then makes `past + sequence` the sequence.
 */
import { badOption, cacheUnclear, didYouMean } from '../../errors.ts';
import { type Dim, type Model, replaceUses, type Value } from '../../graph/model.ts';
import type { DataType } from '../../graph/tensor.ts';
import type { Length } from '../autodiff/lengths.ts';
import { type Absent, absentInputs } from './absent.ts';
import { layoutOf } from './caches.ts';
import { type Filled, full, type Ground, groundOf, lengthsOf } from './ground.ts';
import { cacheKind } from './names.ts';
import { dropPresents } from './presents.ts';
import { ruleFor } from './rules.ts';
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
  const caches = free.filter((v) => cacheKind(v.name) !== undefined);
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

  dropPresents(graph, new Set(fills.keys()), asked);
  const bound = graph.inputs.flatMap((v): Bound[] => {
    const made = fills.get(v);
    return made === undefined ? [] : [{ name: v.name, dtype: v.dtype, shape: v.shape, value: made.text }];
  });
  for (const [v, { value }] of fills) replaceUses(v, value);
  const kept = graph.inputs.filter((v) => !fills.has(v));
  graph.inputs.length = 0;
  graph.inputs.push(...kept);
  retype(model, ground.symbols);
  return { bound, tokens: ground.tokens?.name, absent: absentInputs(graph.inputs, ground.tokens) };
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

/** A cache before the first token. */
function atStart(v: Value, ground: Ground): Filled {
  const { g, tokens, rest, symbols } = ground;
  const unclear = (reason: string): Error => cacheUnclear(v.name, reason);
  const { dtype } = v;
  if (dtype === undefined) throw unclear('its element type is not known');
  const lengths = lengthsOf(v, ground);
  const made = (list: readonly (Length | undefined)[], text: string): Filled => {
    const known = list.map((l, i) => {
      if (l === undefined)
        throw unclear(`the length of axis ${i} of [${v.shape?.map((d) => d ?? '?').join(', ')}] is not known`);
      return l;
    });
    return { value: full(g, dtype, 0, known), text };
  };
  if (cacheKind(v.name) === 'state') return made(lengths, 'zeros');
  const batch = new Set(rest.flatMap((r) => (r.shape?.[0] === undefined ? [] : [r.shape[0]])));
  const layout = layoutOf(v, batch);
  if (typeof layout === 'string') throw unclear(layout);
  const { grows, writes, dims } = layout;
  const list = dims.map((d, i) => {
    if (typeof d === 'number' && i !== grows) return d;
    if (i === grows) return 0;
    return i === writes && tokens !== undefined ? g.length(tokens, 1) : lengths[i];
  });
  const past = grows === undefined ? undefined : v.shape?.[grows];
  if (typeof past === 'string' && !rest.some((r) => r.shape?.includes(past)) && !symbols.has(past))
    symbols.set(past, 0);
  return made(list, grows === undefined ? 'zeros' : 'length 0');
}
