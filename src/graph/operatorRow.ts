/** How a row of an operator table is written. "name?" is an optional input or output, "...name" a variadic one. */
import type { Graph, SparseTensor, ValueType } from './model.ts';
import type { Tensor } from './tensor.ts';

/** What an attribute of each kind holds. */
export interface AttrTypes {
  float: number;
  int: number;
  str: string;
  floats: readonly number[];
  ints: readonly number[];
  strs: readonly string[];
  tensor: Tensor;
  graph: Graph;
  sparse: SparseTensor;
  type: ValueType;
}

/** An attribute; without a default it is undefined where a node leaves it out. */
export interface AttrRow<K extends keyof AttrTypes = keyof AttrTypes, D extends boolean = boolean> {
  readonly kind: K;
  readonly default: D extends true ? AttrTypes[K] : undefined;
}

type Plain<K extends keyof AttrTypes> = { (): AttrRow<K, false>; (value: AttrTypes[K]): AttrRow<K, true> };
function row<K extends keyof AttrTypes>(kind: K): Plain<K> {
  function make(): AttrRow<K, false>;
  function make(value: AttrTypes[K]): AttrRow<K, true>;
  function make(value?: AttrTypes[K]): AttrRow<K, false> | AttrRow<K, true> {
    return value === undefined ? { kind, default: undefined } : { kind, default: value };
  }
  return make;
}
export const [float, int, str, floats] = [row('float'), row('int'), row('str'), row('floats')];
export const [ints, strs, tensor, graph] = [row('ints'), row('strs'), row('tensor'), row('graph')];
export const [sparse, type] = [row('sparse'), row('type')];

/**
 * How the first output's type and shape follow from the inputs, for operators that need no rule of their own: `same` as the first
 * input, the `broadcast` of all inputs, the `matmul` of the first two as NumPy defines it, or the `conv` of the first two with the
 * attributes of Conv. passes/shapes/kinds.ts has the rules.
 */
export type ShapeKind = 'same' | 'broadcast' | 'matmul' | 'conv';

export interface OpRow {
  readonly in: readonly string[];
  readonly out: readonly string[];
  /** Absent where passes/shapes has a rule for this operator alone. */
  readonly shape?: ShapeKind;
  readonly attrs?: { readonly [name: string]: AttrRow };
}
