/** Normalizations and Dropout. */
import { unsupportedVersion } from '../../../errors.ts';
import type { Builder } from '../../../graph/builder.ts';
import type { Value } from '../../../graph/model.ts';
import { type Upgrade, upgrade } from '../upgrade.ts';

export const normUpgrades: readonly Upgrade[] = [
  // Five outputs meant training; ONNX Runtime computes the inference form, which is also what a frozen model means.
  upgrade('BatchNormalization', { until: 13 }, ({ node, x, inputs, attrs, g, again }) => {
    const read = node.outputs.slice(1).find((v) => v.uses.size > 0);
    if (read !== undefined)
      throw unsupportedVersion(`BatchNormalization in training form: its statistics "${read.name}" are read`, {
        node: node.label,
      });
    const [, scale, bias, mean, variance] = inputs;
    if (attrs.int('spatial') === 0 && scale && bias && mean && variance) {
      // One statistic per position, not per channel: plain broadcasting over the batch.
      const deviation = g.Sqrt(g.Add(variance, g.like(variance, attrs.float('epsilon') ?? 1e-5)));
      return g.Add(g.Mul(g.Div(g.Sub(x, mean), deviation), scale), bias);
    }
    return again({ without: ['spatial'], outputs: 1 });
  }),

  // At inference, which is all that the old forms say, the data passes and the mask is all ones.
  upgrade('Dropout', { until: 11 }, ({ node, x, from, g }) => {
    if (node.outputs.length < 2) return x;
    const ones = g.Expand(g.constant('bool', [], [1]), g.Shape(x));
    return [x, from < 10 ? g.CastLike(ones, x) : ones];
  }),

  // Scale and bias per group are deprecated, and no provider has a kernel: write the body out.
  // https://onnx.ai/onnx/operators/onnx__GroupNormalization.html#groupnormalization-18
  upgrade('GroupNormalization', { until: 20, always: true }, ({ x, inputs: [, scale, bias], attrs, g }) => {
    const grouped = g.Reshape(x, g.ints([0, attrs.int('num_groups') ?? 1, -1]));
    const last = g.ints([-1]);
    const centred = g.Sub(grouped, g.ReduceMean(grouped, last));
    const variance = g.ReduceMean(g.Mul(centred, centred), last);
    const epsilon = g.like(x, attrs.float('epsilon') ?? 1e-5);
    const normal = g.Div(centred, g.Sqrt(g.Add(variance, epsilon)));
    const scaled = scale === undefined ? normal : g.Mul(normal, column(g, scale));
    return g.Reshape(bias === undefined ? scaled : g.Add(scaled, column(g, bias)), g.Shape(x));
  }),
];

const column = (g: Builder, v: Value): Value => g.Unsqueeze(v, g.ints([1]));
