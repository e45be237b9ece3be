/** Elementwise operators on what is in their domain. */
import type { OpName } from '../../../src/graph/operators.ts';
import { broadcast, type Draft, type Entry } from './draft.ts';
import type { Step } from './step.ts';

type Attrs = (d: Draft) => object;
type Unary = Pick<Step, 'only' | 'since' | 'before'> & { readonly attrs?: Attrs };

const apply = (d: Draft, op: OpName, inputs: readonly Entry[], attrs: object = {}): Entry['value'] => {
  const [y] = d.g.node({ op, inputs: inputs.map((e) => e.value), attrs, outputs: 1 });
  if (y === undefined) throw new Error(`${op} has no output`);
  return y;
};

/** `f` bounds the result on what `domain` gives. */
const unary = (
  op: OpName,
  domain: (d: Draft, e: Entry) => Entry,
  f: (bound: number) => number,
  { attrs, ...more }: Unary = {},
): Step => ({
  ops: [op],
  ...more,
  make: (d) => {
    const x = domain(d, d.pick());
    d.put(apply(d, op, [x], attrs?.(d)), f(x.bound), x.shape);
  },
});

const any = (_: Draft, e: Entry): Entry => e;
const within =
  (bound: number) =>
  (d: Draft, e: Entry): Entry =>
    d.scaled(e, bound);
/** Away from these places by at least 0.2. */
const off =
  (...kinks: readonly number[]) =>
  (d: Draft, e: Entry): Entry =>
    d.around(
      e,
      kinks.flatMap((k) => [k - 0.5, k + 0.5]).filter((c) => kinks.every((k) => Math.abs(c - k) > 0.4)),
      0.3,
    );
const positive = (d: Draft, e: Entry): Entry => d.around(e, [1, 1.5, 2], 0.5);
const same = (b: number): number => b;
const one = (): number => 1;
const float32 = { only: 'float32' } as const;

const binary = (
  op: OpName,
  f: (a: number, b: number) => number,
  left: (d: Draft, e: Entry) => Entry = any,
  right: (d: Draft, e: Entry) => Entry = any,
): Step => ({
  ops: [op],
  make: (d) => {
    const p = d.pick();
    const q = d.partner(p);
    const [a, b] = d.draw(2) === 0 ? [left(d, p), right(d, q)] : [left(d, q), right(d, p)];
    const dims = broadcast(a.shape, b.shape);
    if (dims !== undefined) d.put(apply(d, op, [a, b]), f(a.bound, b.bound), dims);
  },
});

/** One to three operands; `place` keeps each apart from the others. */
const several = (
  op: OpName,
  f: (bounds: readonly number[]) => number,
  place: (d: Draft, e: Entry, i: number) => Entry,
  more: Pick<Step, 'only'> = {},
): Step => ({
  ops: [op],
  ...more,
  make: (d) => {
    const list = [d.pick()];
    let dims: readonly number[] = list[0]?.shape ?? [];
    for (let i = d.draw(3); i > 0; i--) {
      const e = d.partner({ value: d.scalar(0), shape: dims, bound: 0 });
      const both = broadcast(dims, e.shape);
      if (both === undefined) return;
      dims = both;
      list.push(e);
    }
    const placed = list.map((e, i) => place(d, e, i));
    d.put(apply(d, op, placed), f(placed.map((e) => e.bound)), dims);
  },
});

const sum = (bounds: readonly number[]): number => bounds.reduce((a, b) => a + b, 0);

/** A condition: constant, fed, or computed from values that lie off zero. */
function condition(d: Draft, shape: readonly number[]): Entry['value'] {
  if (d.draw(2) === 0) {
    const e = off(0)(d, d.operand(shape));
    return d.g.Greater(e.value, d.scalar(0));
  }
  const count = shape.reduce((a, b) => a * b, 1);
  const flags = Array.from({ length: count }, () => Math.floor(2 * d.next()));
  return d.whole(flags, shape, { type: 'bool' });
}

const powers = [0, 1, 2, 3, 0.5, -1, -2, 1.7] as const;

export const steps: readonly Step[] = [
  unary('Identity', any, same),
  unary('Neg', any, same),
  unary('Abs', off(0), same),
  unary('Sqrt', positive, Math.sqrt),
  unary('Exp', within(1.5), Math.exp),
  unary('Log', positive, one),
  unary('Reciprocal', (d, e) => d.around(e, [1.5, -1.5], 0.5), one),
  unary('Sin', any, one),
  unary('Cos', any, one),
  unary('Tanh', any, one),
  unary('Sigmoid', any, one),
  unary('Relu', off(0), same),
  unary('Dropout', any, same),
  binary('Add', (a, b) => a + b),
  binary('Sub', (a, b) => a + b),
  binary('Mul', (a, b) => a * b),
  binary('Div', same, any, (d, e) => d.around(e, [1.5, -1.5], 0.5)),
  binary(
    'Pow',
    () => 3,
    (d, e) => d.around(e, [1.25], 0.5),
    within(1.5),
  ),
  several('Sum', sum, any),
  several(
    'Max',
    (b) => Math.max(...b),
    (d, e, i) => d.around(e, [i - 1.5, i + 1.5], 0.3),
  ),
  several(
    'Min',
    (b) => Math.max(...b),
    (d, e, i) => d.around(e, [i - 1.5, i + 1.5], 0.3),
  ),
  several('Mean', sum, any, float32),
  {
    ops: ['Pow'],
    make: (d) => {
      const n = d.oneOf(powers);
      const x = d.around(d.pick(), n === 2 || n === 3 ? [1, -1] : [1], 0.5);
      const integer = Number.isInteger(n) && d.draw(2) === 0;
      d.put(d.g.Pow(x.value, integer ? d.fixed([n], d.oneOf([[], [1]])) : d.scalar(n)), n < 0 ? 4 : 3.4);
    },
  },
  {
    ops: ['Where'],
    make: (d) => {
      const x = d.pick();
      const y = d.partner(x);
      const dims = broadcast(x.shape, y.shape) ?? x.shape;
      const c = condition(d, d.oneOf([dims, x.shape, y.shape, dims.slice(1), []]));
      const [a, b] = d.draw(2) === 0 ? [x, y] : [y, x];
      if (broadcast(x.shape, y.shape) !== undefined)
        d.put(d.g.Where(c, a.value, b.value), Math.max(x.bound, y.bound), dims);
    },
  },
  {
    ops: ['Clip'],
    make: (d) => {
      const x = d.around(d.pick(), [-2, -1, 0, 1, 2], 0.3);
      // Limits lie between the places of the elements, also where they are values themselves.
      const limit = (at: number): Entry['value'] =>
        d.draw(2) === 0 ? d.scalar(at) : d.around(d.operand([]), [at], 0.1).value;
      const low = d.draw(3) === 0 ? undefined : limit(d.oneOf([-1.5, -0.5]));
      const high = d.draw(3) === 0 ? undefined : limit(d.oneOf([0.5, 1.5]));
      d.put(d.g.Clip(x.value, low, high), x.bound, x.shape);
    },
  },
  {
    ops: ['Mod'],
    make: (d) => {
      const x = d.around(d.pick(), [-1.5, -0.5, 0.5, 1.5], 0.3);
      const y = d.around(d.operand([]), [d.oneOf([1, -1])], 0.02);
      d.put(d.g.Mod(x.value, y.value, { fmod: 1 }), 1.02, x.shape);
    },
  },
  {
    ops: ['Cast'],
    only: 'float32',
    make: (d) => {
      const x = d.pick();
      d.put(d.g.Cast(d.g.Sin(d.g.Cast(x.value, { to: 11 })), { to: 1 }), 1, x.shape);
    },
  },
  {
    ops: ['CastLike'],
    make: (d) => {
      const x = d.pick();
      d.put(d.g.CastLike(x.value, d.pick().value), x.bound, x.shape);
    },
  },
  {
    ops: ['Range'],
    make: (d) => {
      const start = d.around(
        d.pick(
          (e) => e.shape.length === 0,
          () => [],
        ),
        [0.5],
        0.1,
      );
      const delta = d.around(d.operand([]), [1], 0.05);
      d.put(d.g.Range(start.value, d.scalar(3), delta.value), 3.2, [3]);
    },
  },
  {
    // What is stopped adds a constant as far as derivatives go.
    ops: [],
    make: (d) => {
      const x = d.pick();
      const op = d.oneOf(['Floor', 'Ceil', 'Round', 'Sign'] as const);
      const flat = d.g[op](d.around(x, [-1.5, -0.5, 0.5], op === 'Round' ? 0 : 0.3).value);
      d.put(d.g.Mul(x.value, flat), 2 * x.bound, x.shape);
    },
  },
  {
    // The same node twice, which simplification makes one.
    ops: [],
    make: (d) => {
      const x = d.pick();
      const op = d.oneOf(['Sin', 'Tanh', 'Sigmoid', 'Cos'] as const);
      d.put(d.g.Mul(d.g[op](x.value), d.g.Add(d.g[op](x.value), x.value)), 1 + x.bound, x.shape);
    },
  },
  unary('Erf', any, one, float32),
  unary('LeakyRelu', off(0), same, { ...float32, attrs: (d) => ({ alpha: d.oneOf([0.01, 0.3]) }) }),
  unary('Softplus', any, (b) => b + 0.7, float32),
  unary('Softsign', off(0), one, float32),
  unary('Elu', off(0), same, { ...float32, attrs: (d) => ({ alpha: d.oneOf([1, 0.7]) }) }),
  unary('Selu', off(0), (b) => 2 * b, float32),
  unary('Celu', off(0), same, { ...float32, attrs: (d) => ({ alpha: d.oneOf([1, 0.7]) }) }),
  unary('ThresholdedRelu', off(0.5), same, { ...float32, attrs: () => ({ alpha: 0.5 }) }),
  unary('Shrink', off(-0.75, 0.75), same, { ...float32, attrs: (d) => ({ lambd: 0.75, bias: d.oneOf([0, 0.3]) }) }),
  unary('HardSigmoid', off(-2, 1), one, { ...float32, attrs: () => ({ alpha: 1 / 3, beta: 2 / 3 }) }),
  unary('HardSwish', off(-3, 3), same, float32),
  unary('Mish', any, same, float32),
  unary('Swish', any, same, { ...float32, since: 24, before: 25, attrs: (d) => ({ alpha: d.oneOf([1, 0.7]) }) }),
  unary('Gelu', any, same, {
    ...float32,
    since: 20,
    attrs: (d) => ({ approximate: d.oneOf(['none', 'tanh']) }),
  }),
  unary('Tan', within(1), () => 1.6, float32),
  unary('Asin', within(0.7), one, float32),
  unary('Acos', within(0.7), () => 2.4, float32),
  unary('Atan', any, same, float32),
  unary('Sinh', within(1.5), () => 2.2, float32),
  unary('Cosh', within(1.5), () => 2.4, float32),
  unary('Asinh', any, same, float32),
  unary(
    'Acosh',
    (d, e) => d.around(e, [2], 0.5),
    () => 1.6,
    float32,
  ),
  unary('Atanh', within(0.6), one, float32),
  {
    ops: ['PRelu'],
    only: 'float32',
    make: (d) => {
      const x = off(0)(d, d.pick());
      const slope = d.operand(d.oneOf([x.shape, x.shape.slice(1), x.shape.map(() => 1), [1]]));
      if (broadcast(x.shape, slope.shape)?.length === x.shape.length)
        d.put(d.g.PRelu(x.value, slope.value), x.bound * Math.max(1, slope.bound), x.shape);
    },
  },
];
