/** GELU and SiLU of several nodes, matched as one function (canonicalize/gelu.ts, silu.ts). */
import { grad } from '../rules.ts';

// h·(t + x·t') with t' = k·(2/√π)·exp(-v²), and k·x = v: the factor 2/√π is moved into the exponent.
grad('loraify.Gelu', ({ inputs: [, v, t, , h], dy, g }) => {
  const bell = g.Exp(g.Sub(g.like(v, Math.log(2 / Math.sqrt(Math.PI))), g.Mul(v, v)));
  return [g.Mul(g.Mul(dy, g.Add(t, g.Mul(v, bell))), h)];
});

// As above with t' = (1 - tanh²)·v' = t·(2 - t)·v', and x·v' = 3v - 2·slope·x for v = slope·x + c·x³.
grad('loraify.GeluTanh', ({ inputs: [x, v, t, , h], attrs: { slope }, dy, g }) => {
  const n = (value: number) => g.like(v, value);
  const steep = g.Sub(g.Mul(v, n(3)), g.Mul(x, n(2 * slope)));
  return [g.Mul(g.Mul(dy, g.Mul(t, g.Add(g.Mul(g.Sub(n(2), t), steep), n(1)))), h)];
});

// s + a·y·(1 - s)
grad('loraify.Silu', ({ inputs: [, s, y], attrs: { alpha }, dy, g }) => {
  const v = alpha === 1 ? y : g.Mul(y, g.like(y, alpha));
  return [g.Mul(dy, g.Add(s, g.Mul(v, g.Sub(g.like(s, 1), s))))];
});
