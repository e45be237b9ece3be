/**
 * The inputs that describe a decoder's position, and their values without earlier tokens: one row each. The value is
 * computed inside the graph from the tokens, and from their mask if the model reads one.
 *
 * Sources: position ids as `prepare_inputs_for_generation` of transformers computes them; seqlens_k and
 * total_sequence_length,
 * https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.GroupQueryAttention;
 * write_indices and nonpad_kv_seqlen, https://onnx.ai/onnx/operators/onnx__TensorScatter.html and onnx__Attention.html.
 */
import type { Builder } from '../../../graph/builder.ts';
import type { Dim, Value } from '../../../graph/model.ts';
import { type DataType, dataTypeNumber } from '../../../graph/tensor.ts';
import { allKnown, type Filled, type Ground, lengthsOf } from './ground.ts';
import { plainName, positionNames } from './names.ts';

export interface Site extends Ground {
  readonly v: Value;
}

interface BindRule {
  readonly name: string;
  /** The input's name as plain words (names.ts). */
  readonly names: RegExp;
  readonly types: readonly DataType[];
  readonly ranks: readonly number[];
  /** undefined: it remains an input. */
  readonly fill: (site: Site) => Filled | undefined;
}

const integers: readonly DataType[] = ['int64', 'int32'];

export const bindRules: readonly BindRule[] = [
  {
    // Merged decoders have both variants in an If: the one without a cache computes everything.
    name: 'bind/use-cache',
    names: /^use_cache(_branch)?$/,
    types: ['bool'],
    ranks: [0, 1],
    fill: (s) => filled(s, s.g.constant('bool', [], [0]), 'false', 'alone'),
  },
  {
    // 0 keeps the logits of all positions.
    name: 'bind/logits-to-keep',
    names: /^(num_)?logits_to_keep$/,
    types: integers,
    ranks: [0, 1],
    fill: (s) => filled(s, s.g.int(0), '0', 'alone'),
  },
  {
    name: 'bind/past-length',
    names: /^(past|cache)_((seq|sequence|kv)_)?(len|length)$/,
    types: integers,
    ranks: [0, 1, 2],
    fill: (s) => filled(s, s.g.int(0), '0', 'alone'),
  },
  {
    name: 'bind/total-length',
    names: /^(total|current)_(seq|sequence)_(len|length)$/,
    types: integers,
    ranks: [0, 1, 2],
    fill: (s) => s.tokens && filled(s, s.g.scalar(s.g.length(s.tokens, 1)), `length of "${s.tokens.name}"`, 'alone'),
  },
  {
    name: 'bind/write-indices',
    names: /^write_(indices|index|pos|position)$/,
    types: integers,
    ranks: [0, 1],
    fill: (s) => filled(s, s.g.int(0), '0', 'rows'),
  },
  {
    name: 'bind/seqlens-k',
    names: /^seqlens?_k$/,
    types: integers,
    ranks: [1, 2],
    fill: (s) => counted(s, -1),
  },
  {
    name: 'bind/kv-length',
    names: /^(nonpad_)?kv_(seqlens?|sequence_length|seq_len)$/,
    types: integers,
    ranks: [0, 1],
    fill: (s) => counted(s, 0),
  },
  {
    name: 'bind/cache-position',
    names: /^(cache_positions?|input_pos)$/,
    types: integers,
    ranks: [1],
    fill: (s) => (sequenceLike(s, 0) ? typed(s, range(s, [-1]), '0, 1, 2, …') : undefined),
  },
  {
    name: 'bind/position-ids',
    names: positionNames,
    types: integers,
    ranks: [1, 2],
    fill: positions,
  },
];

export const ruleFor = (v: Value): BindRule | undefined =>
  bindRules.find(
    (r) =>
      r.names.test(plainName(v.name)) &&
      v.dtype !== undefined &&
      r.types.includes(v.dtype) &&
      v.shape !== undefined &&
      r.ranks.includes(v.shape.length),
  );

/**
 * A scalar broadcast to v's type and shape. An axis that no other input has counts rows, or is the 1 of a single
 * number.
 */
function filled(site: Site, scalar: Value, text: string, open: 'rows' | 'alone'): Filled | undefined {
  const { v, g } = site;
  const lengths = lengthsOf(v, open === 'rows' ? site : { ...site, tokens: undefined });
  const known = allKnown(open === 'rows' ? lengths : lengths.map((l) => l ?? 1));
  if (known === undefined) return undefined;
  const value = typed(site, scalar, text);
  return known.length === 0 ? value : { ...value, value: g.Expand(value.value, g.vector(known)) };
}

function typed({ v, g }: Site, value: Value, text: string): Filled {
  const { dtype } = v;
  return {
    value: dtype === undefined || dtype === value.dtype ? value : g.Cast(value, { to: dataTypeNumber(dtype) }),
    text,
  };
}

/** The number of tokens in each row, plus `more`: those that the mask counts, or all. */
function counted(site: Site, more: number): Filled | undefined {
  const { v, g, tokens, mask } = site;
  if (tokens === undefined) return undefined;
  const minus = more === 0 ? '' : ` minus ${-more}`;
  const add = (x: Value): Value => (more === 0 ? x : g.Add(x, g.int(more)));
  if (mask === undefined || v.shape?.length === 0)
    return filled(site, add(g.scalar(g.length(tokens, 1))), `length of "${tokens.name}"${minus}`, 'rows');
  const count = g.ReduceSum(wide(g, mask), g.ints([1]), { keepdims: v.shape?.length === 2 ? 1 : 0 });
  return typed(site, add(count), `sum of "${mask.name}"${minus}`);
}

const wide = (g: Builder, v: Value): Value => (v.dtype === 'int64' ? v : g.Cast(v, { to: dataTypeNumber('int64') }));

/** 0, 1, 2, … along the sequence, in this shape. */
function range({ g, tokens }: Site, shape: readonly number[]): Value {
  const length = tokens === undefined ? g.int(0) : g.scalar(g.length(tokens, 1));
  const steps = g.Range(g.int(0), length, g.int(1));
  return shape.length === 1 ? steps : g.Reshape(steps, g.ints(shape));
}

/** Whether the axis is known to have the sequence dim. */
function sequenceLike({ v, tokens }: Site, axis: number): boolean {
  const [own, length] = [v.shape?.[axis], tokens?.shape?.[1]];
  return tokens !== undefined && (own === length || typeof own !== 'number');
}

/** cumsum(mask) - 1, and 1 where the mask is 0; without a mask 0, 1, 2, … for every row. */
function positions(site: Site): Filled | undefined {
  const { v, g, tokens, mask, cached } = site;
  const rank = v.shape?.length ?? 0;
  if (!cached || tokens === undefined || !sequenceLike(site, rank - 1)) return undefined;
  if (rank === 1) return typed(site, range(site, [-1]), '0, 1, 2, …');
  const rows: Dim | undefined = v.shape?.[0];
  if (mask !== undefined && rows !== 1) {
    const kept = wide(g, mask);
    const count = g.Sub(g.CumSum(kept, g.int(1)), g.int(1));
    const value = g.Where(g.Equal(kept, g.int(0)), g.int(1), count);
    return typed(site, value, `cumulative sum of "${mask.name}" minus 1`);
  }
  const one = range(site, [1, -1]);
  const all = rows === 1 ? one : g.Expand(one, g.vector([g.length(tokens, 0), g.length(tokens, 1)]));
  return typed(site, all, '0, 1, 2, …');
}
