/** Operators that work element by element: broadcasting, and arithmetic on known elements (shape arithmetic). */
import type { Dim, Value } from '../../graph/model.ts';
import { type DataType, dataTypeFromNumber, isFloat } from '../../graph/tensor.ts';
import { add, broadcast, divExact, isNonNegative, isStatic, max, min, mod, mul, neg, sub, truncDiv } from './dims.ts';
import { elementsOrNulls, isFollowed, mostElements } from './elements.ts';
import { like, out, type Rule, type Shape, shape, shapeRaw } from './rule.ts';

shapeRaw(['IsInf', 'IsNaN'], ({ inputs: [x] }) => [out('bool', x?.shape)]);

/** A function of each element, if the elements are known. */
function unary(op: (d: Dim) => Dim): Rule {
  return ({ inputs: [x] }) => [{ ...like(x), elements: elementsOrNulls(x)?.map(op) }];
}
// Tracked elements are whole numbers.
shapeRaw(
  ['Ceil', 'Floor', 'Round'],
  unary((d) => d),
);
shapeRaw('Neg', unary(neg));
shapeRaw(
  'Abs',
  unary((d) => (typeof d === 'number' ? Math.abs(d) : isNonNegative(d) ? d : null)),
);
shapeRaw(
  'Sign',
  unary((d) => (typeof d === 'number' ? Math.sign(d) : null)),
);
shapeRaw(
  'Not',
  unary((d) => (typeof d === 'number' ? 1 - d : null)),
);

type Fold = (a: Dim, b: Dim) => Dim;

/** Elements of `v` broadcast to `shape`. */
function spread(v: Value | undefined, shape: readonly number[]): readonly Dim[] | undefined {
  const size = shape.reduce((n, d) => n * d, 1);
  const from = v?.shape;
  if (size > mostElements || !isStatic(from)) return undefined;
  const list = elementsOrNulls(v);
  if (list === undefined) return undefined;
  const lead = shape.length - from.length;
  return Array.from({ length: size }, (_, flat) => {
    let [index, stride, rest] = [0, 1, flat];
    for (let i = shape.length - 1; i >= 0; i--) {
      const d = shape[i] ?? 1;
      const here = from[i - lead] ?? 1;
      if (i >= lead && here !== 1) index += (rest % d) * stride;
      if (i >= lead) stride *= here;
      rest = Math.floor(rest / d);
    }
    return list[index] ?? null;
  });
}

/** Elements of an elementwise function of `values`, undefined if they are not integers or too many. */
function combine(values: readonly (Value | undefined)[], shape: Shape, fold: Fold): Dim[] | undefined {
  if (!isStatic(shape) || !values.every((v) => isFollowed(v?.dtype))) return undefined;
  const lists = values.map((v) => spread(v, shape));
  const [first, ...rest] = lists;
  if (first === undefined) return undefined;
  return first.map((a, i) => rest.reduce<Dim>((acc, list) => fold(acc, list?.[i] ?? null), a));
}

/** Operands broadcast to one shape; `fold` combines two known elements, `dtype` is the result's type if it differs. */
function broadcasting(fold: Fold, dtype?: DataType): Rule {
  return ({ inputs }) => {
    const dims = broadcast(...inputs.map((v) => v?.shape));
    return [out(dtype ?? inputs.find((v) => v?.dtype !== undefined)?.dtype, dims, combine(inputs, dims, fold))];
  };
}

shapeRaw('Add', broadcasting(add));
shapeRaw('Sub', broadcasting(sub));
/** One function for integers, another for floats (and for types that may be float). */
const byType =
  (integers: Fold, floats: Fold): Rule =>
  (site) =>
    broadcasting(site.inputs.some((v) => isFloat(v?.dtype ?? 'float32')) ? floats : integers)(site);
// Zero times an unknown float may be NaN.
shapeRaw(
  'Mul',
  byType(mul, (a, b) => (a === null || b === null ? null : mul(a, b))),
);
shapeRaw('Div', byType(truncDiv, divExact));
shapeRaw('Min', broadcasting(min));
shapeRaw('Max', broadcasting(max));
shapeRaw('Sum', broadcasting(add));
shape('Mod', (site) => broadcasting(site.attrs.fmod === 0 ? mod : () => null)(site));
// The result has the base's type, whatever the exponent's.
shapeRaw('Pow', ({ inputs: [x, y] }) => [out(x?.dtype, broadcast(x?.shape, y?.shape))]);

/** 1 or 0 if both are numbers, or if the sign of the difference does not depend on the symbols. */
const compare =
  (test: (difference: number) => boolean): Fold =>
  (a, b) => {
    const d = sub(a, b);
    return typeof d === 'number' ? Number(test(d)) : null;
  };

/**
 * Does the same as `compare`, and also decides comparisons of dims with negative numbers: S = -1 is false, S > -1 is
 * true.
 */
function decide(test: (difference: number) => boolean): Fold {
  const plain = compare(test);
  return (a, b) => {
    const known = plain(a, b);
    if (known !== null || a === null || b === null) return known;
    // A difference of at least one, or of at most minus one, has the same result as one or minus one.
    if (isNonNegative(sub(sub(a, b), 1)) && test(1) === test(2)) return Number(test(1));
    if (isNonNegative(sub(sub(b, a), 1)) && test(-1) === test(-2)) return Number(test(-1));
    return null;
  };
}

shapeRaw(
  'Equal',
  broadcasting(
    decide((d) => d === 0),
    'bool',
  ),
);
shapeRaw(
  'Less',
  broadcasting(
    decide((d) => d < 0),
    'bool',
  ),
);
shapeRaw(
  'LessOrEqual',
  broadcasting(
    decide((d) => d <= 0),
    'bool',
  ),
);
shapeRaw(
  'Greater',
  broadcasting(
    decide((d) => d > 0),
    'bool',
  ),
);
shapeRaw(
  'GreaterOrEqual',
  broadcasting(
    decide((d) => d >= 0),
    'bool',
  ),
);

const both = (a: Dim, b: Dim): Dim => (a === 0 || b === 0 ? 0 : a === 1 && b === 1 ? 1 : null);
const either = (a: Dim, b: Dim): Dim => (a === 1 || b === 1 ? 1 : a === 0 && b === 0 ? 0 : null);
const odd = (a: Dim, b: Dim): Dim => (typeof a === 'number' && typeof b === 'number' ? Number(a !== b) : null);
shapeRaw('And', broadcasting(both, 'bool'));
shapeRaw('Or', broadcasting(either, 'bool'));
shapeRaw('Xor', broadcasting(odd, 'bool'));

shapeRaw('Where', ({ inputs: [condition, x, y] }) => {
  const dims = broadcast(condition?.shape, x?.shape, y?.shape);
  const dtype = x?.dtype ?? y?.dtype;
  if (!isStatic(dims) || !isFollowed(dtype)) return [out(dtype, dims)];
  const [c, a, b] = [spread(condition, dims), spread(x, dims), spread(y, dims)];
  const pick = (i: number): Dim => {
    const [p, q] = [a?.[i] ?? null, b?.[i] ?? null];
    return c?.[i] === 1 || p === q ? p : c?.[i] === 0 ? q : null;
  };
  return [
    out(
      dtype,
      dims,
      c?.map((_, i) => pick(i)),
    ),
  ];
});

/** Elements after a cast between integer types. A bool only records whether an element is zero. */
function castElements(v: Value | undefined, to: DataType | undefined): readonly Dim[] | undefined {
  if (!isFollowed(v?.dtype) || !isFollowed(to)) return undefined;
  const truth = (d: Dim): Dim => (typeof d === 'number' ? Number(d !== 0) : null);
  return elementsOrNulls(v)?.map(to === 'bool' && v?.dtype !== 'bool' ? truth : (d) => d);
}

shape('Cast', ({ inputs: [x], attrs: { to } }) => {
  const dtype = to === undefined ? undefined : dataTypeFromNumber(to);
  return [out(dtype, x?.shape, castElements(x, dtype))];
});
shapeRaw('CastLike', ({ inputs: [x, target] }) => [out(target?.dtype, x?.shape, castElements(x, target?.dtype))]);
shape('BitCast', ({ inputs: [x], attrs: { to } }) => [
  out(to === undefined ? undefined : dataTypeFromNumber(to), x?.shape),
]);
shapeRaw('Identity', ({ inputs: [x] }) => [{ ...like(x), elements: elementsOrNulls(x) }]);
