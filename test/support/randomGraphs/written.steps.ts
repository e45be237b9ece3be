/** What exporters write out and the compiler takes for one: GELU, LayerNorm and RMSNorm, exactly and nearly. */
import type { Value } from '../../../src/graph/model.ts';
import { some } from './layout.steps.ts';
import type { Step } from './step.ts';

export const steps: readonly Step[] = [
  {
    ops: ['Erf', 'Tanh', 'Pow'],
    only: 'float32',
    make: (d) => {
      const x = d.pick();
      const { g } = d;
      const cube = (): Value =>
        d.draw(2) === 0 ? g.Pow(x.value, d.scalar(3)) : g.Mul(g.Mul(x.value, x.value), x.value);
      const inner = d.oneOf([
        () => g.Erf(g.Mul(x.value, d.scalar(0.7))),
        () => g.Erf(g.Div(x.value, d.scalar(Math.SQRT2))),
        () => g.Tanh(g.Mul(g.Add(x.value, g.Mul(cube(), d.scalar(0.044715))), d.scalar(Math.sqrt(2 / Math.PI)))),
        () => g.Tanh(g.Mul(x.value, g.Add(g.Mul(g.Mul(x.value, x.value), d.scalar(0.03)), d.scalar(0.8)))),
      ])();
      const t = g.Add(inner, d.scalar(1));
      const h = d.scalar(0.5);
      // Nearly GELU, where the outer factor is another value.
      const other = d.draw(4) === 0 ? d.operand(x.shape) : x;
      const y = d.oneOf([
        () => g.Mul(g.Mul(other.value, t), h),
        () => g.Mul(other.value, g.Mul(t, h)),
        () => g.Mul(g.Mul(other.value, h), t),
      ])();
      d.put(y, Math.max(x.bound, other.bound), x.shape);
    },
  },
  {
    ops: ['ReduceMean', 'Sqrt', 'Sub', 'Div', 'Reciprocal'],
    make: (d) => {
      const x = some(d);
      const { g } = d;
      const mean = (v: Value): Value => g.ReduceMean(v, g.ints([-1]), { keepdims: 1 });
      const centred = d.draw(2) === 0;
      const c = centred ? g.Sub(x.value, mean(x.value)) : x.value;
      // Nearly a mean of squares, where one factor is another value.
      const square = d.oneOf([
        () => g.Mul(c, c),
        () => g.Pow(c, d.scalar(2)),
        () => g.Mul(c, c),
        () => g.Mul(c, g.Tanh(c)),
      ])();
      const s = g.Sqrt(g.Add(mean(square), d.scalar(d.oneOf([1, 0.5]))));
      const n = d.oneOf([() => g.Div(c, s), () => g.Mul(c, g.Div(d.scalar(1), s)), () => g.Mul(g.Reciprocal(s), c)])();
      const w = x.shape.at(-1) ?? 1;
      const vector = (): Value =>
        d.constant(
          [w],
          Array.from({ length: w }, () => Math.fround(2 * d.next() - 1)),
        );
      const scale = d.draw(2) === 0 ? vector() : d.operand([w]).value;
      const bound = 1.5 * (centred ? 2 : 1) * x.bound;
      const result = d.oneOf([
        () => n,
        () => g.Mul(n, scale),
        () => g.Add(g.Mul(scale, n), vector()),
        () => g.Add(g.Mul(n, scale), s),
      ])();
      d.put(result, 1.1 * bound + 1 + bound, x.shape);
    },
  },
];
