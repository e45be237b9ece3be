/**
 * One optimizer step on the flat state, in plain operators.
 *
 * AdamW is torch.optim.AdamW (Loshchilov, Hutter 2019): p *= 1 - lr·wd, then p -= lr·m̂ / (sqrt(v̂) + eps), eps outside
 * the corrected root. Clipping is torch.nn.utils.clip_grad_norm_: g *= min(1, max_norm / (‖g‖ + 1e-6)).
 */
import type { Builder } from '../../graph/builder.ts';
import type { OptimizerKind } from '../../graph/choices/compile.ts';
import type { Value } from '../../graph/model.ts';
import { inRange, nextScale } from '../loss/lossScale.ts';

export interface OptimizerOptions {
  readonly kind: OptimizerKind;
  readonly betas: readonly [number, number];
  readonly eps: number;
  readonly weightDecay: number;
  /** Global L2 norm above which the gradient is scaled down; 0 switches clipping off. */
  readonly maxGradNorm: number;
  /** The momentum of `sgd`. */
  readonly momentum: number;
}

/** Flat float32 vectors [P], and scalars. `v` is absent for optimizers without that slot. */
export interface State {
  readonly params: Value;
  readonly m: Value;
  readonly v: Value | undefined;
  /** Steps done before, as a float. */
  readonly step: Value;
  /**
   * With a float16 base: the factor that the loss was multiplied by before differentiation; the gradient is already
   * divided by it.
   */
  readonly lossScale: Value | undefined;
}

export interface Update {
  /** Global L2 norm before clipping, scalar. */
  readonly norm: Value;
  readonly next: State;
}

/** With a loss scale, a gradient that is not finite does not change the state, and halves the scale (lossScale.ts). */
export function optimizerStep(g: Builder, grad: Value, state: State, lr: Value, options: OptimizerOptions): Update {
  return g.within({ origin: 'optimizer', rule: `optimizer/${options.kind}` }, () => {
    const norm = g.Sqrt(g.ReduceSum(g.Mul(grad, grad), undefined, { keepdims: 0 }));
    const limit = options.maxGradNorm;
    const clipped =
      limit === 0 ? grad : g.Mul(grad, g.Min([g.float(1), g.Div(g.float(limit), g.Add(norm, g.float(1e-6)))]));
    const step = g.Add(state.step, g.float(1));
    const next = updates[options.kind](g, clipped, state, step, lr, options);
    if (state.lossScale === undefined) return { norm, next };
    const finite = inRange(g, norm);
    const lossScale = nextScale(g, state.lossScale, finite, step);
    return { norm, next: { ...chosen(g, finite, next, state), lossScale } };
  });
}

/** The new state if `taken` is true, else the old one. */
export function chosen(g: Builder, taken: Value, next: State, old: State): State {
  const pick = (a: Value, b: Value): Value => g.Where(taken, a, b);
  const both = (a: Value | undefined, b: Value | undefined): Value | undefined =>
    a === undefined || b === undefined ? undefined : pick(a, b);
  return {
    params: pick(next.params, old.params),
    m: pick(next.m, old.m),
    v: both(next.v, old.v),
    step: pick(next.step, old.step),
    lossScale: both(next.lossScale, old.lossScale),
  };
}

function adamw(g: Builder, grad: Value, state: State, step: Value, lr: Value, options: OptimizerOptions): State {
  const [beta1, beta2] = options.betas;
  const { params, m, v } = state;
  if (v === undefined) throw new Error('adamw has a second moment');
  const mix = (old: Value, fresh: Value, beta: number): Value =>
    g.Add(g.Mul(old, g.float(beta)), g.Mul(fresh, g.float(1 - beta)));
  const m1 = mix(m, grad, beta1);
  const v1 = mix(v, g.Mul(grad, grad), beta2);
  const [c1, c2] = [correction(g, step, beta1), correction(g, step, beta2)];
  const root = g.Add(g.Div(g.Sqrt(v1), g.Sqrt(c2)), g.float(options.eps));
  const moved = g.Mul(g.Div(m1, root), g.Div(lr, c1));
  const decayed = decay(g, params, lr, options.weightDecay);
  return { ...state, params: g.Sub(decayed, moved), m: m1, v: v1, step };
}

const decay = (g: Builder, params: Value, lr: Value, rate: number): Value =>
  rate === 0 ? params : g.Mul(params, g.Sub(g.float(1), g.Mul(lr, g.float(rate))));

/**
 * 1 - beta^t without the cancellation that loses four digits at t = 1: with x = -t·ln(beta), 1 - exp(-x) = 2·tanh(x/2)
 * / (1 + tanh(x/2)).
 */
function correction(g: Builder, step: Value, beta: number): Value {
  if (beta === 0) return g.float(1);
  const th = g.Tanh(g.Mul(step, g.float(-Math.log(beta) / 2)));
  return g.Div(g.Mul(th, g.float(2)), g.Add(th, g.float(1)));
}

/**
 * torch.optim.SGD: weight decay joins the gradient, m = momentum·m + g. The first step's m is g because m starts at 0.
 */
function sgd(g: Builder, grad: Value, state: State, step: Value, lr: Value, options: OptimizerOptions): State {
  const { params, m } = state;
  const full = options.weightDecay === 0 ? grad : g.Add(grad, g.Mul(params, g.float(options.weightDecay)));
  const m1 = options.momentum === 0 ? full : g.Add(g.Mul(m, g.float(options.momentum)), full);
  return { ...state, params: g.Sub(params, g.Mul(m1, lr)), m: m1, v: undefined, step };
}

const updates = { adamw, sgd } satisfies Record<OptimizerKind, typeof adamw>;
