/** GELU of several nodes, carried as one (gelu.ts). */
import { badModel } from '../../../errors.ts';
import { gradRaw } from '../rules.ts';

// h·(t + x·t') with t' = k·(2/√π)·exp(-v²), and k·x = v: the factor 2/√π goes into the exponent.
gradRaw('loraify.Gelu', ({ node, inputs: [, v, t, , h], dy, g }) => {
  if (v === undefined || t === undefined || h === undefined)
    throw badModel(`"${node.label}" is incomplete`, { node: node.label });
  const bell = g.Exp(g.Sub(g.like(v, Math.log(2 / Math.sqrt(Math.PI))), g.Mul(v, v)));
  return [g.Mul(g.Mul(dy, g.Add(t, g.Mul(v, bell))), h)];
});
