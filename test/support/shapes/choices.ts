/** Seeded choices that cases are made of. */
import type { Builder } from '../../../src/graph/builder.ts';
import type { Value } from '../../../src/graph/model.ts';
import { stream } from '../../../src/graph/random.ts';

/** Seeded choices of a case. */
export interface Choices {
  int(from: number, to: number): number;
  of<T>(list: readonly [T, ...T[]]): T;
  flip(): boolean;
  /** Lengths of a random shape. */
  dims(fromRank: number, toRank: number, longest?: number): number[];
  /** A shape that broadcasts with the given one: some lengths 1, some axes in front left out. */
  broadcastable(dims: readonly number[]): number[];
}

export function choices(seed: number): Choices {
  const random = stream(seed, 'shapes');
  const int = (from: number, to: number): number => from + random.integer(to - from + 1);
  return {
    int,
    of: (list) => list[int(0, list.length - 1)] ?? list[0],
    flip: () => int(0, 1) === 1,
    dims: (a, b, longest = 5) => Array.from({ length: int(a, b) }, () => int(1, longest)),
    broadcastable: (dims) => dims.slice(int(0, dims.length)).map((d) => (int(0, 2) === 0 ? 1 : d)),
  };
}

/** `dims` with another length at one axis. */
export const withDim = (dims: readonly number[], axis: number, d: number): number[] =>
  dims.map((old, i) => (i === axis ? d : old));
export const axisOf = (c: Choices, rank: number): number => c.int(-rank, rank - 1);
export const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
export const shuffled = (c: Choices, n: number): number[] =>
  range(n)
    .map((i) => ({ i, key: c.int(0, 1000) }))
    .sort((a, b) => a.key - b.key)
    .map(({ i }) => i);
export const positive = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);

/** A constant vector, or the same computed from another constant, or fed so that nobody knows it before. */
export function vector(c: Choices, g: Builder, values: readonly number[]): Value {
  return c.flip() ? g.ints(values) : g.Identity(g.ints(values));
}
