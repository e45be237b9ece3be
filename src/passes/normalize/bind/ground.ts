/** The values that bindings are computed from: the remaining inputs, mainly the tokens and their mask. */
import { type Builder, createBuilder } from '../../../graph/builder.ts';
import type { Dim, Value } from '../../../graph/model.ts';
import { type DataType, inlineTensor, isFloat, rawByteLength } from '../../../graph/tensor.ts';
import { type Length, type Lengths, lengthTools } from '../../common/dimArithmetic.ts';
import { inferNode } from '../../shapes/index.ts';
import { embeddingNames, isMaskName, ofAnotherPart, plainName, tokenNames } from './names.ts';

export interface Ground {
  readonly g: Builder & Lengths;
  /** Inputs that are not bound. */
  readonly rest: readonly Value[];
  /** Tokens, or their embeddings: [batch, sequence, …]. */
  readonly tokens: Value | undefined;
  /** [batch, sequence], one element for each token. */
  readonly mask: Value | undefined;
  /** The model has caches. */
  readonly cached: boolean;
  /** Resolved symbols of the source: `past` is 0, `total` is the sequence. */
  readonly symbols: Map<string, Dim>;
}

export interface Filled {
  readonly value: Value;
  /** A description for messages and the manifest. */
  readonly text: string;
  /** The number of tokens that fit in a cache of fixed size. */
  readonly holds?: number;
}

/** @param rest the inputs that are not bound. @param inputs all of them: a mask determines dims even if it is bound. */
export function groundOf(rest: readonly Value[], inputs: readonly Value[], cached: boolean): Ground {
  const builder = createBuilder(inferNode, rest);
  const tokens = tokensOf(rest);
  const symbols = new Map<string, Dim>();
  const masks = inputs.filter((v) => isMaskName(v.name) && v.shape?.length === 2);
  return {
    g: Object.assign(
      builder,
      lengthTools(builder, (v) => v.shape?.length ?? 0),
    ),
    rest,
    tokens,
    mask: tokens === undefined ? undefined : masks.find((v) => isAligned(v, tokens, { rest, masks, cached, symbols })),
    cached,
    symbols,
  };
}

/** The input that has one entry for each token. */
export function tokensOf(inputs: readonly Value[]): Value | undefined {
  const find = (names: readonly string[], fits: (v: Value) => boolean): Value | undefined =>
    names.map((n) => inputs.find((v) => plainName(v.name) === n && fits(v))).find((v) => v !== undefined);
  const integer = (v: Value): boolean => (v.dtype === 'int64' || v.dtype === 'int32') && v.shape?.length === 2;
  const wide = (v: Value): boolean => v.dtype !== undefined && isFloat(v.dtype) && v.shape?.length === 3;
  return find(tokenNames, integer) ?? find(embeddingNames, wide);
}

interface Around {
  readonly rest: readonly Value[];
  readonly masks: readonly Value[];
  readonly cached: boolean;
  readonly symbols: Map<string, Dim>;
}

/** Whether the mask has the tokens' shape: its own `past + sequence` is the sequence if the past is empty. */
function isAligned(mask: Value, tokens: Value, { rest, masks, cached, symbols }: Around): boolean {
  const [own, length] = [mask.shape?.[1], tokens.shape?.[1]];
  if (own === length && own !== null) return true;
  if (!cached || typeof own === 'number' || ofAnotherPart(mask.name)) return false;
  // A dim that another input has is not the tokens'.
  if (own !== null && rest.some((v) => !masks.includes(v) && v.shape?.includes(own ?? null))) return false;
  if (typeof own === 'string' && length !== undefined && length !== null) symbols.set(own, length);
  return true;
}

/**
 * The dim of each axis: known, that of a remaining input, or the tokens' batch; undefined if it cannot be determined.
 */
export function lengthsOf(v: Value, ground: Pick<Ground, 'g' | 'tokens' | 'symbols'>): (Length | undefined)[] {
  const { g, tokens, symbols } = ground;
  const shape = (v.shape ?? []).map((d) => (typeof d === 'string' ? (symbols.get(d) ?? d) : d));
  // The first open axis counts rows: [batch, …], [2, batch, …].
  const rows = shape.findIndex((d) => typeof d !== 'number');
  return shape.map((d, i) => {
    if (typeof d === 'number') return d;
    const known = d === null ? undefined : g.symbol(d);
    return known ?? (i === rows && tokens !== undefined ? g.length(tokens, 0) : undefined);
  });
}

/** All of them, or undefined if one is. */
export function allKnown(lengths: readonly (Length | undefined)[]): Length[] | undefined {
  const known = lengths.filter((l) => l !== undefined);
  return known.length === lengths.length ? known : undefined;
}

/** A tensor filled with one number. */
export function full(g: Builder & Lengths, dtype: DataType, number: 0 | 1, lengths: readonly Length[]): Value {
  const scalar = scalarOf(g, dtype, number);
  return lengths.length === 0 ? scalar : g.Expand(scalar, g.vector(lengths));
}

function scalarOf(g: Builder, dtype: DataType, number: 0 | 1): Value {
  // Zeros exist also for types without arithmetic.
  if (number === 0 && !plain.has(dtype))
    return g.tensor(`zero.${dtype}`, inlineTensor(dtype, [], new Uint8Array(rawByteLength(dtype, []))));
  return g.constant(dtype, [], [number]);
}

const plain = new Set<DataType>([
  'float32',
  'float64',
  'float16',
  'bfloat16',
  'int64',
  'int32',
  'int16',
  'int8',
  'uint64',
  'uint32',
  'uint16',
  'uint8',
  'bool',
]);
