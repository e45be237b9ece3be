/** The types of an operator table's rows. "name?" is an optional input or output, "...name" a variadic one. */
import type { Graph, SparseTensor, ValueType } from './model.ts';
import type { Tensor } from './tensor.ts';

/** The value type of each attribute kind. */
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

/** An attribute; without a default it is undefined if a node leaves it out. */
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

export interface OpRow {
  readonly in: readonly string[];
  readonly out: readonly string[];
  readonly attrs?: { readonly [name: string]: AttrRow };
}
