/** The activation functions of LSTM, GRU and RNN cells by name, with a clip of their inputs. */
import { badModel } from '../../../errors.ts';
import type { Builder } from '../../../graph/builder.ts';
import type { Node, Value } from '../../../graph/model.ts';

export type Activation = (b: Builder, v: Value) => Value;

interface Named {
  /**
   * Whether the function has an activation_alpha or activation_beta, and ONNX Runtime 1.30's default if the list ends.
   */
  readonly alpha?: number;
  readonly beta?: number;
  readonly apply: (b: Builder, v: Value, alpha: number, beta: number) => Value;
}

const functions: Readonly<Record<string, Named>> = {
  affine: { alpha: 0, beta: 0, apply: (b, v, alpha, beta) => b.Add(b.Mul(v, b.like(v, alpha)), b.like(v, beta)) },
  elu: { alpha: 1, apply: (b, v, alpha) => b.Elu(v, { alpha }) },
  hardsigmoid: { alpha: 0.2, beta: 0.5, apply: (b, v, alpha, beta) => b.HardSigmoid(v, { alpha, beta }) },
  leakyrelu: { alpha: 0.01, apply: (b, v, alpha) => b.LeakyRelu(v, { alpha }) },
  relu: { apply: (b, v) => b.Relu(v) },
  scaledtanh: {
    alpha: 0,
    beta: 0,
    apply: (b, v, alpha, beta) => b.Mul(b.Tanh(b.Mul(v, b.like(v, beta))), b.like(v, alpha)),
  },
  sigmoid: { apply: (b, v) => b.Sigmoid(v) },
  softplus: { apply: (b, v) => b.Softplus(v) },
  softsign: { apply: (b, v) => b.Softsign(v) },
  tanh: { apply: (b, v) => b.Tanh(v) },
  // The standard's default is 1.
  thresholdedrelu: { alpha: 0, apply: (b, v, alpha) => b.ThresholdedRelu(v, { alpha }) },
};

export interface CellAttrs {
  readonly activation_alpha: readonly number[] | undefined;
  readonly activation_beta: readonly number[] | undefined;
  readonly activations: readonly string[] | undefined;
  readonly clip: number | undefined;
}

/**
 * The functions of all directions, each with clipped input. Names are compared without case, and each function takes
 * its alpha and beta from the front of the lists, as in ONNX Runtime.
 */
export function activationsOf(
  node: Node,
  { activations = [], activation_alpha = [], activation_beta = [], clip = 0 }: CellAttrs,
  usual: readonly string[],
): Activation[] {
  const [alphas, betas] = [[...activation_alpha], [...activation_beta]];
  return (activations.length === 0 ? usual : activations).map((name) => {
    const found = functions[name.toLowerCase()];
    if (found === undefined) throw badModel(`${node.op} has no activation "${name}"`, { node: node.label });
    const alpha = found.alpha === undefined ? 0 : (alphas.shift() ?? found.alpha);
    const beta = found.beta === undefined ? 0 : (betas.shift() ?? found.beta);
    const bound = (b: Builder, v: Value): Value => (clip > 0 ? b.Clip(v, b.like(v, -clip), b.like(v, clip)) : v);
    return (b, v) => found.apply(b, bound(b, v), alpha, beta);
  });
}
