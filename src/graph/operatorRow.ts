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
  /** A node without it is invalid. In the compiler's own dialect only: nodes of a model are read as they are. */
  readonly required?: true;
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

/** An attribute that every node of the operator has: its type has no undefined. */
export const required = <K extends keyof AttrTypes>(kind: K) =>
  ({ kind, default: undefined, required: true }) as const satisfies AttrRow<K, false>;

/**
 * The relation between the elements of an operator's inputs and those of its result. Passes select operators by it;
 * every row has one.
 */
export type OpKind =
  /** An element of the result depends on the elements of the inputs at its place, broadcasting included. */
  | 'elementwise'
  /** The elements of the first input, unchanged and in their order, under another shape or name. */
  | 'view'
  /** Copies of the inputs' elements (or a constant) at other places. */
  | 'move'
  /** The first input with some elements replaced or updated. */
  | 'scatter'
  | 'reduction'
  /** Positions or choices that depend on the values of the elements. */
  | 'search'
  | 'softmax'
  | 'normalization'
  | 'matmul'
  | 'einsum'
  | 'convolution'
  | 'pool'
  | 'image'
  | 'attention'
  | 'recurrent'
  | 'cumulative'
  /** Conversions to and from quantized integers, and operators that compute with them. */
  | 'quantization'
  /** The lengths of a value, whatever its elements. */
  | 'shape'
  /** Values made of numbers and lengths alone. */
  | 'generator'
  /** Results may differ from run to run. */
  | 'random'
  /** Runs a body. */
  | 'control'
  /** Sequences and optional values. */
  | 'container'
  | 'text'
  | 'loss'
  | 'signal'
  | 'determinant'
  /** A layer with its low-rank branch; in the compiler's own dialect only. */
  | 'adapter';

/**
 * The rule by which the first output's type and shape follow from the inputs, for operators that need no rule of their
 * own: `same` as the first input, the `broadcast` of all inputs, the `matmul` of the first two as NumPy defines it, or
 * the `conv` of the first two with the attributes of Conv. passes/shapes/kinds.ts has the rules.
 */
export type ShapeKind = 'same' | 'broadcast' | 'matmul' | 'conv';

/** A row: the signature of an operator, and the facts about it that passes ask for. */
export interface OpRow {
  readonly kind: OpKind;
  readonly in: readonly string[];
  readonly out: readonly string[];
  /** Absent where passes/shapes has a rule for this operator alone. */
  readonly shape?: ShapeKind;
  readonly attrs?: { readonly [name: string]: AttrRow };
  /** The result is the same in every order of the inputs. */
  readonly commutative?: true;
  /** The inputs broadcast to the shape of the result, each to all others. */
  readonly broadcasts?: true;
  /** Repeating some of the elements that the operator reduces does not change its result. */
  readonly idempotent?: true;
  /**
   * The meaning of attribute `axis`: the `one` axis along which the operator works, independently at each position of
   * the other axes, or the first of all axes `onwards` over which it works.
   */
  readonly axis?: 'one' | 'onwards';
  /**
   * The first axis counts samples; along the others the operator works on windows, statistics, or positions that see
   * one another.
   */
  readonly sampled?: true;
  /** The CPU kernel of ONNX Runtime may write its result over the first input (kernel definitions: MayInplace). */
  readonly inPlace?: true;
  /**
   * ONNX Runtime 1.30 has no CPU kernel of this type in any opset from 18 on. In a few opsets some expand to a function
   * instead, of which Attention's treats masks differently from the kernel.
   */
  readonly float64?: false;
  readonly float16?: false;
  /**
   * The half-precision types for which ONNX Runtime has CUDA kernels, for an operator that loses only rounding in them.
   */
  readonly cudaHalf?: 'both' | 'float16';
}
