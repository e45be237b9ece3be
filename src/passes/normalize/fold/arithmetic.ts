/** Arithmetic, comparisons and reductions on small constants. */
import { attrsOf, type OpName } from '../../../graph/operators.ts';
import { type DataType, dataTypeFromNumber, elementCount, isFloat } from '../../../graph/tensor.ts';
import { axisIn, type Entry, type Evaluator, numbers, on } from './evaluator.ts';
import { broadcast, fits, isInteger, numbersIn, offsetIn, positions, rounded, type Small } from './small.ts';

type ResultType = (dtype: DataType) => DataType | undefined;
const same: ResultType = (t) => t;
const bool: ResultType = () => 'bool';
const integersOnly: ResultType = (t) => (isInteger(t) ? t : undefined);
const floatsOnly: ResultType = (t) => (isFloat(t) ? t : undefined);

function elementwise(type: ResultType, f: (...xs: number[]) => number | undefined): Evaluator {
  return (_, inputs) => {
    const xs = inputs.filter((s) => s !== undefined);
    const [first] = xs;
    const dtype = first === undefined ? undefined : type(first.dtype);
    const dims = broadcast(xs.map((s) => s.dims));
    if (dtype === undefined || dims === undefined || xs.some((s) => s.dtype !== first?.dtype)) return undefined;
    if (!fits(dtype, elementCount(dims))) return undefined;
    const values: number[] = [];
    for (const at of positions(dims)) {
      const args = numbersIn(xs.flatMap((s) => s.values[offsetIn(s.dims, at)] ?? []));
      const y = args?.length === xs.length ? f(...args) : undefined;
      const kept = y === undefined ? undefined : rounded(dtype, y);
      if (kept === undefined) return undefined;
      values.push(kept);
    }
    return { dtype, dims, values };
  };
}

const over =
  (f: (a: number, b: number) => number) =>
  (...xs: number[]): number =>
    xs.reduce((a, b) => f(a, b));
const flag =
  (f: (a: number, b: number) => boolean) =>
  (a = 0, b = 0): number =>
    Number(f(a, b));

const quotient = {
  float: elementwise(floatsOnly, (a = 0, b = 0) => a / b),
  integer: elementwise(integersOnly, (a = 0, b = 0) => (b === 0 ? undefined : Math.trunc(a / b))),
};
const remainder = elementwise(integersOnly, (a = 0, b = 0) => (b === 0 ? undefined : a - b * Math.floor(a / b)));
// Exact powers only: the last digit of inexact ones depends on the library.
const power = (a = 0, b = 0): number | undefined =>
  b === 2 ? a * a : b === 1 ? a : b === 0.5 && a >= 0 ? Math.sqrt(a) : undefined;

// One operation on doubles, rounded once, is exactly the float32 operation for + - * / and the root.
const simple: readonly Entry[] = [
  ['Add', elementwise(same, (a = 0, b = 0) => a + b)],
  ['Sub', elementwise(same, (a = 0, b = 0) => a - b)],
  ['Mul', elementwise(same, (a = 0, b = 0) => a * b)],
  ['Div', (node, xs) => quotient.float(node, xs) ?? quotient.integer(node, xs)],
  ['Mod', (node, xs) => (attrsOf(node, 'Mod').fmod === 0 ? remainder(node, xs) : undefined)],
  ['Pow', elementwise(same, power)],
  ['Neg', elementwise(same, (a = 0) => -a)],
  ['Abs', elementwise(same, (a = 0) => Math.abs(a))],
  ['Sign', elementwise(same, (a = 0) => Math.sign(a))],
  ['Min', elementwise(same, over(Math.min))],
  ['Max', elementwise(same, over(Math.max))],
  ['Floor', elementwise(floatsOnly, (a = 0) => Math.floor(a))],
  ['Ceil', elementwise(floatsOnly, (a = 0) => Math.ceil(a))],
  ['Sqrt', elementwise(floatsOnly, (a = 0) => Math.sqrt(a))],
  ['Reciprocal', elementwise(floatsOnly, (a = 0) => 1 / a)],
  [
    'Equal',
    elementwise(
      bool,
      flag((a, b) => a === b),
    ),
  ],
  [
    'Less',
    elementwise(
      bool,
      flag((a, b) => a < b),
    ),
  ],
  [
    'LessOrEqual',
    elementwise(
      bool,
      flag((a, b) => a <= b),
    ),
  ],
  [
    'Greater',
    elementwise(
      bool,
      flag((a, b) => a > b),
    ),
  ],
  [
    'GreaterOrEqual',
    elementwise(
      bool,
      flag((a, b) => a >= b),
    ),
  ],
  ['And', elementwise(bool, (a = 0, b = 0) => a & b)],
  ['Or', elementwise(bool, (a = 0, b = 0) => a | b)],
  ['Xor', elementwise(bool, (a = 0, b = 0) => a ^ b)],
  ['Not', elementwise(bool, (a = 0) => 1 - a)],
];

const cast = on('Cast', ({ to }, x) => {
  const dtype = to === undefined ? undefined : dataTypeFromNumber(to);
  if (dtype === x.dtype) return x;
  const from = numbersIn(x.values);
  if (dtype === undefined || from === undefined) return undefined;
  if (!isFloat(dtype) && dtype !== 'bool' && !isInteger(dtype)) return undefined;
  const values: number[] = [];
  for (const v of from) {
    const to = dtype === 'bool' ? Number(v !== 0) : isFloat(dtype) ? v : rounded(dtype, Math.trunc(v));
    if (to === undefined) return undefined;
    values.push(to);
  }
  return { dtype, dims: x.dims, values };
});

const where = on('Where', (_, c, x, y) => {
  if (x === undefined || y === undefined || x.dtype !== y.dtype) return undefined;
  const dims = broadcast([c.dims, x.dims, y.dims]);
  if (dims === undefined || !fits(x.dtype, elementCount(dims))) return undefined;
  const values: Small['values'][number][] = [];
  for (const at of positions(dims)) {
    const from = c.values[offsetIn(c.dims, at)] === 0 ? y : x;
    values.push(from.values[offsetIn(from.dims, at)] ?? 0);
  }
  return { dtype: x.dtype, dims, values };
});

const range = on('Range', (_, start, limit, delta) => {
  const [a, b, d] = [numbers(start)?.[0], numbers(limit)?.[0], numbers(delta)?.[0]];
  if (a === undefined || b === undefined || d === undefined || d === 0 || !isInteger(start.dtype)) return undefined;
  const n = Math.max(0, Math.ceil((b - a) / d));
  if (!fits(start.dtype, n)) return undefined;
  return { dtype: start.dtype, dims: [n], values: Array.from({ length: n }, (_, i) => a + i * d) };
});

type Reduction = Extract<OpName, 'ReduceProd' | 'ReduceSum' | 'ReduceMax' | 'ReduceMin'>;
const reduction = (op: Reduction, f: (a: number, b: number) => number): Entry =>
  on(op, ({ keepdims, noop_with_empty_axes }, x, axes) => {
    const given = axes === undefined || axes.values.length === 0 ? undefined : numbers(axes);
    if (given === undefined && noop_with_empty_axes === 1) return x;
    const gone = new Set((given ?? x.dims.map((_, i) => i)).map((a) => axisIn(a, x.dims.length)));
    const from = numbersIn(x.values);
    if (!isInteger(x.dtype) || from === undefined || from.length === 0) return undefined;
    const dims = x.dims.map((d, i) => (gone.has(i) ? 1 : d));
    const sums: number[] = [];
    for (const at of positions(x.dims)) {
      const [to, v] = [offsetIn(dims, at), from[offsetIn(x.dims, at)] ?? 0];
      const before = sums[to];
      sums[to] = before === undefined ? v : f(before, v);
    }
    if (sums.some((s) => rounded(x.dtype, s) === undefined)) return undefined;
    return { dtype: x.dtype, dims: keepdims === 1 ? dims : dims.filter((_, i) => !gone.has(i)), values: sums };
  });

export const arithmetic: readonly Entry[] = [
  ...simple,
  cast,
  where,
  range,
  reduction('ReduceProd', (a, b) => a * b),
  reduction('ReduceSum', (a, b) => a + b),
  reduction('ReduceMax', Math.max),
  reduction('ReduceMin', Math.min),
];
