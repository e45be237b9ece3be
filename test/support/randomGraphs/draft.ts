/**
 * A random graph while it is made. Every value carries a bound that its elements cannot exceed whatever the inputs are (within
 * the steps of the finite differences), so a step can move its operand to where its operator is smooth: `around` scales what it
 * gets and adds an offset to each element, which keeps it apart from kinks, ties, zeros of denominators and logarithms.
 */
import { type Builder, createBuilder } from '../../../src/graph/builder.ts';
import { sizeOf } from '../../../src/graph/layers.ts';
import { type Dim, type FunctionDef, Graph, tensorType, Value } from '../../../src/graph/model.ts';
import type { DataType } from '../../../src/graph/tensor.ts';
import { inferNode } from '../../../src/passes/shapes/index.ts';
import { type Data, random } from '../gradients/harness.ts';
import { constantValue } from './disguise.ts';

/** A float value with its lengths at run time and a bound of its elements' magnitudes. */
export interface Entry {
  readonly value: Value;
  readonly shape: readonly number[];
  readonly bound: number;
}

/** What the graph's inputs say about their shapes. */
export type Mode = 'static' | 'shared' | 'own' | 'mixed' | 'unknown' | 'unranked';
/** As often as they are drawn. */
export const modes: readonly Mode[] = [
  ...(['static', 'static', 'static', 'static', 'shared', 'shared', 'shared'] as const),
  ...(['own', 'own', 'mixed', 'mixed', 'unknown', 'unknown', 'unranked'] as const),
];

export type Floats = 'float64' | 'float32';
type Shape = readonly number[];

/** Decides: the next number below `n`. */
export type Decide = (n: number) => number;

/** Most elements and axes of a value. */
const most = { elements: 48, axes: 4 } as const;
/** Inputs lie in [-1, 1] and are moved by less than 0.1. */
export const inputBound = 1.1;

/** NumPy's broadcast of two shapes, undefined where they do not fit. */
export function broadcast(a: Shape, b: Shape): number[] | undefined {
  const rank = Math.max(a.length, b.length);
  const at = (s: Shape, i: number): number => s[i - rank + s.length] ?? 1;
  const dims = Array.from({ length: rank }, (_, i) => {
    const [p, q] = [at(a, i), at(b, i)];
    return p === q || q === 1 ? p : p === 1 ? q : -1;
  });
  return dims.includes(-1) ? undefined : dims;
}

export interface Draft {
  readonly g: Builder;
  readonly type: Floats;
  readonly opset: number;
  readonly mode: Mode;
  readonly graph: Graph;
  readonly data: Map<Value, Data>;
  /** Float inputs: what gradients are asked for. */
  readonly moved: Value[];
  /** Model-local functions. */
  readonly functions: FunctionDef[];
  /** Values that nothing has read yet. */
  readonly loose: Set<Entry>;
  /** Sets where decisions come from. */
  decideBy(draws: readonly number[]): void;
  readonly draw: Decide;
  readonly oneOf: <T>(list: readonly [T, ...T[]]) => T;
  /** A number in [0, 1) that no shrinking changes. */
  readonly next: () => number;
  /** A value made before that fits, or undefined. */
  find(fits?: (e: Entry) => boolean): Entry | undefined;
  /** As `find`, or a new input of the shape that `otherwise` draws. */
  pick(fits?: (e: Entry) => boolean, otherwise?: () => Shape): Entry;
  /** A value of this rank, made by Reshape where there is none. */
  ranked(rank: number): Entry;
  /** A new float input. */
  input(shape: Shape): Entry;
  /** A new float input or constant. */
  operand(shape: Shape): Entry;
  /** A float constant, perhaps computed from others. */
  constant(shape: Shape, values: readonly number[]): Value;
  /** A scalar constant of the graph's type. */
  scalar(x: number): Value;
  /** Integers or flags as an initializer, a Constant node or a graph input. `sized`: the last length is always known. */
  whole(values: readonly number[], shape?: Shape, kind?: Whole): Value;
  /** Integers that rules have to know. */
  fixed(values: readonly number[], shape?: Shape): Value;
  /** A value that broadcasts with `e`, whatever which way. */
  partner(e: Entry): Entry;
  /** `e` times a constant, so that its bound is at most this. */
  scaled(e: Entry, bound: number): Entry;
  /** Elements within `width` of the centres, one drawn for each element (or for all, so that no length need be known). */
  around(e: Entry, centres: readonly number[], width: number): Entry;
  /** Elements apart from each other by at least 0.08. */
  distinct(e: Entry): Entry;
  /** A result; throws where shape inference knows another shape. */
  put(value: Value, bound: number, shape?: Shape): Entry;
  /** A shape of this rank. */
  shape(rank?: number): number[];
  /** Gives the inputs the shapes that the mode says. */
  declare(): void;
}

export interface Whole {
  readonly type?: 'int64' | 'int32' | 'bool';
  readonly sized?: boolean;
}

const symbols: Readonly<Record<Mode, (d: number, name: string, i: number) => Dim>> = {
  static: (d) => d,
  shared: (d) => `d${d}`,
  own: (_, name, i) => `${name}_${i}`,
  mixed: (d, name, i) => [d, `d${d}`, null][(name.length + i + d) % 3] ?? null,
  unknown: () => null,
  unranked: () => null,
};

export function createDraft(type: Floats, opset: number, mode: Mode, seed: number, starts: readonly number[]): Draft {
  const graph = new Graph('random');
  const g = createBuilder(inferNode, graph.inputs);
  const next = random(seed);
  const pool: Entry[] = [];
  const sized = new Set<Value>();
  let draws = starts;
  let at = 0;

  const draft: Draft = {
    g,
    type,
    opset,
    mode,
    graph,
    data: new Map(),
    moved: [],
    functions: [],
    loose: new Set(),
    decideBy: (list) => {
      draws = list;
      at = 0;
    },
    draw: (n) => (draws[at++] ?? 0) % n,
    oneOf: (list) => list[draft.draw(list.length)] ?? list[0],
    next,
    find: (fits = () => true) => {
      // Half of the time the newest, so that graphs become deep.
      const list = pool.filter(fits).reverse();
      return list[draft.draw(2) === 0 ? 0 : draft.draw(list.length || 1)];
    },
    pick: (fits, otherwise = () => draft.shape()) => draft.find(fits) ?? draft.input(otherwise()),
    ranked: (rank) => {
      const e = draft.find((v) => v.shape.length === rank);
      if (e !== undefined) return e;
      const other = draft.draw(3) === 0 ? undefined : draft.find((v) => v.shape.length > 0);
      if (other === undefined) return draft.input(draft.shape(rank));
      const dims = factors(draft, sizeOf(other.shape), rank);
      return draft.put(draft.g.Reshape(other.value, draft.fixed(dims)), other.bound, dims);
    },
    input: (shape) => {
      const v = new Value(`x${graph.inputs.length}`, tensorType(type, shape));
      graph.inputs.push(v);
      draft.moved.push(v);
      const values = Array.from({ length: sizeOf(shape) }, () => 2 * next() - 1);
      draft.data.set(v, { type, dims: shape, values });
      return remember({ value: v, shape, bound: inputBound });
    },
    operand: (shape) => {
      if (draft.draw(3) > 0) return draft.input(shape);
      const values = Array.from({ length: sizeOf(shape) }, () => Math.fround(2 * next() - 1));
      return { value: draft.constant(shape, values), shape, bound: 1 };
    },
    constant: (shape, values) => holder(type, shape, values),
    scalar: (x) => holder(type, [], [x]),
    whole: (values, shape = [values.length], kind = {}) => {
      const dtype = kind.type ?? 'int64';
      if (draft.draw(2) === 0) return holder(dtype, shape, values);
      const v = new Value(`i${graph.inputs.length}`, tensorType(dtype, shape));
      graph.inputs.push(v);
      if (kind.sized === true) sized.add(v);
      draft.data.set(v, { type: dtype, dims: shape, values });
      return v;
    },
    fixed: (values, shape = [values.length]) => holder('int64', shape, values),
    partner: (e) => {
      const fits = (s: Shape): boolean => {
        const both = broadcast(e.shape, s);
        return both !== undefined && sizeOf(both) <= most.elements;
      };
      const ones = (s: Shape): number[] => s.map((d) => (draft.draw(2) === 0 ? 1 : d));
      switch (draft.draw(6)) {
        case 0:
          return draft.find((v) => v !== e && fits(v.shape)) ?? draft.operand(e.shape);
        case 1:
          return draft.operand(e.shape);
        case 2:
          return draft.operand(ones(e.shape));
        case 3:
          return draft.operand(e.shape.slice(draft.draw(e.shape.length + 1)));
        case 4:
          return draft.operand([]);
        default: {
          const more = [1 + draft.draw(3), ...ones(e.shape)];
          return draft.operand(fits(more) && more.length <= most.axes ? more : e.shape);
        }
      }
    },
    scaled: (e, bound) => {
      if (e.bound <= bound) return e;
      // A power of two, which rounds nothing.
      const by = 2 ** Math.floor(Math.log2(bound / e.bound));
      return { value: g.Mul(e.value, draft.scalar(by)), shape: e.shape, bound: e.bound * by };
    },
    around: (e, centres, width) => {
      const small = draft.scaled(e, width);
      const [only = 0] = centres;
      const bound = Math.max(...centres.map(Math.abs)) + width;
      const one = draft.draw(4) === 0 || centres.length === 1;
      const count = sizeOf(e.shape);
      const offsets = Array.from({ length: count }, () => centres[Math.floor(next() * centres.length)] ?? only);
      const offset = one ? draft.scalar(centres[draft.draw(centres.length)] ?? only) : still(e.shape, offsets);
      return { value: g.Add(small.value, offset), shape: e.shape, bound };
    },
    distinct: (e) => {
      const count = sizeOf(e.shape);
      const order = Array.from({ length: count }, (_, i) => ({ i, key: next() })).sort((a, b) => a.key - b.key);
      const offsets = order.map(({ i }) => 0.2 * (i - (count - 1) / 2));
      const small = draft.scaled(e, 0.06);
      return { value: g.Add(small.value, still(e.shape, offsets)), shape: e.shape, bound: 0.1 * count + 0.06 };
    },
    put: (value, bound, shape) => {
      const known = value.shape;
      const full = known?.every((d) => typeof d === 'number') === true ? known : undefined;
      const dims = shape ?? full;
      if (dims === undefined) throw new Error(`the shape of ${value.producer?.op} is not known`);
      if (full !== undefined && full.join() !== dims.join())
        throw new Error(`${value.producer?.op} has shape [${full}] by inference, [${dims}] in truth`);
      value.type = tensorType(type, dims);
      return remember(draft.scaled({ value, shape: dims, bound }, 3));
    },
    shape: (rank = draft.draw(most.axes)) => {
      const dims = Array.from({ length: rank }, () => 1 + draft.draw(4));
      while (sizeOf(dims) > most.elements) dims[dims.indexOf(Math.max(...dims))] = 2;
      return dims;
    },
    declare: () => {
      for (const v of graph.inputs) {
        const dims = v.shape ?? [];
        const known = (i: number): boolean => sized.has(v) && i === dims.length - 1;
        const shape = dims.map((n, i) => (known(i) || typeof n !== 'number' ? n : symbols[mode](n, v.name, i)));
        v.type = tensorType(v.dtype, mode === 'unranked' && !sized.has(v) ? undefined : shape);
      }
    },
  };

  const byValue = new Map<Value, Entry>();
  const remember = (e: Entry): Entry => {
    // What it is made of has been read.
    const todo = e.value.producer === undefined ? [] : [e.value.producer];
    for (let n = todo.pop(); n !== undefined; n = todo.pop())
      for (const v of n.inputs) {
        const read = v === undefined ? undefined : byValue.get(v);
        if (read !== undefined) draft.loose.delete(read);
        else if (v?.producer !== undefined) todo.push(v.producer);
      }
    pool.push(e);
    byValue.set(e.value, e);
    draft.loose.add(e);
    return e;
  };

  const holder = (dtype: DataType, shape: Shape, values: readonly number[]): Value =>
    constantValue({ g, draw: draft.draw, dtype }, shape, values);

  /** Offsets: a constant, or an input that is moved as little as the others. */
  const still = (shape: Shape, values: readonly number[]): Value => {
    if (draft.draw(2) === 0) return holder(type, shape, values);
    const v = new Value(`c${graph.inputs.length}`, tensorType(type, shape));
    graph.inputs.push(v);
    draft.data.set(v, { type, dims: shape, values });
    return v;
  };

  draft.input(draft.shape(1 + draft.draw(3)));
  return draft;
}

/** Lengths of `rank` axes with this product. */
export function factors(d: Draft, size: number, rank: number): number[] {
  const dims: number[] = [];
  let rest = size;
  for (let i = 1; i < rank; i++) {
    const divisors = Array.from({ length: rest }, (_, k) => k + 1).filter((k) => rest % k === 0);
    const n = divisors[d.draw(divisors.length)] ?? 1;
    dims.push(n);
    rest /= n;
  }
  return rank === 0 ? [] : [...dims, rest];
}
