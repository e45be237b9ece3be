/**
 * Focal losses (Lin et al. 2017): cross-entropy times q^gamma, where q = 1 - p is the share that the prediction misses.
 * Gradients are written with q^gamma·(c / q) in place of q^(gamma-1)·c, where c vanishes with q: no exponent below 1
 * gives an infinity.
 */
import type { Builder } from '../../graph/builder.ts';
import type { Value } from '../../graph/model.ts';
import type { ClassFormula } from './overClasses.ts';
import { binaryCrossEntropy, type ElementFormula } from './overElements.ts';

/** q^gamma of q from 0 to 1. Small whole exponents are products: WebGPU's pow of 0 is not defined for all of them. */
function power(g: Builder, q: Value, gamma: number): Value {
  if (gamma === 0) return g.float(1);
  if (gamma === 1) return q;
  return gamma === 2 ? g.Mul(q, q) : g.Pow(q, g.float(gamma));
}

/** v / q, and 0 where both are. */
const overMissed = (g: Builder, v: Value, q: Value): Value => g.Div(v, g.Max([q, g.float(1e-30)]));

/** q^gamma·nll. With p = exp(-nll) its derivative by nll is q^gamma·(1 + gamma·p·nll / q). */
export const focal: ClassFormula = (g, { nll, rowWeight, oneLess, sum, total, params: { gamma = 2 } }) => {
  // 1 - exp(-x) = 2·tanh(x/2) / (1 + tanh(x/2)), without the cancellation at small x.
  const th = g.Tanh(g.Mul(nll, g.float(0.5)));
  const q = g.Div(g.Mul(th, g.float(2)), g.Add(th, g.float(1)));
  const factor = g.Mul(power(g, q, gamma), rowWeight);
  const rise = overMissed(g, g.Mul(g.Mul(g.Exp(g.Neg(nll)), nll), g.float(gamma)), q);
  const slope = g.Mul(factor, g.Add(rise, g.float(1)));
  return [g.Mul(factor, nll), g.Mul(oneLess, g.Div(slope, sum === undefined ? total : g.Mul(sum, total)))];
};

/** alpha_t·q^gamma·bce with q = y·(1-p) + (1-y)·p and alpha_t = alpha·y + (1-alpha)·(1-y), as torchvision has it. */
export const sigmoidFocal: ElementFormula = (g, e) => {
  const { z, labels: y, counted, one, isProbability } = e;
  const { gamma = 2, focalAlpha = 0.25 } = e.params;
  const [bce, slope] = binaryCrossEntropy(g, e);
  const [p, miss] = isProbability ? [z, g.Sub(one, z)] : [g.Sigmoid(z), g.Sigmoid(g.Neg(z))];
  const mix = (ofOne: Value, ofZero: Value): Value => g.Add(g.Mul(y, ofOne), g.Mul(g.Sub(one, y), ofZero));
  const q = mix(miss, p);
  const focus = power(g, q, gamma);
  const factor = focalAlpha < 0 ? focus : g.Mul(mix(g.float(focalAlpha), g.float(1 - focalAlpha)), focus);
  // dq/dz = (1 - 2y)·p·(1-p), dq/dp = 1 - 2y.
  const rises = g.Sub(one, g.Mul(y, g.float(2)));
  const dq = isProbability ? rises : g.Mul(rises, g.Mul(p, miss));
  const rise = overMissed(g, g.Mul(g.Mul(bce, dq), g.float(gamma)), q);
  return [counted(g.Mul(factor, bce)), counted(g.Mul(factor, g.Add(slope, rise)))];
};
