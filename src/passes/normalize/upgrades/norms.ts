/** Normalizations and Dropout. */
import { unsupportedVersion } from '../../../errors.ts';
import type { Builder } from '../../../graph/builder.ts';
import type { Value } from '../../../graph/model.ts';
import { type Upgrade, upgrade } from '../upgrade.ts';

export const normUpgrades: readonly Upgrade[] = [
  // Five outputs meant training, and Y is then normalized by the batch, even if the statistics are not read.
  upgrade('BatchNormalization', { until: 13 }, ({ node, x, inputs, attrs, g, again }) => {
    const training = node.outputs.length > 1;
    const saved = node.outputs.slice(3).find((v) => v.uses.size > 0);
    if (saved !== undefined)
      throw unsupportedVersion(`BatchNormalization outputs "${saved.name}", which newer forms do not have`, {
        node: node.label,
      });
    const [, scale, bias, mean, variance] = inputs;
    if (attrs.int('spatial') === 0 && scale && bias && mean && variance && !training) {
      // One statistic per position, not per channel: plain broadcasting over the batch.
      const deviation = g.Sqrt(g.Add(variance, g.like(variance, attrs.float('epsilon') ?? 1e-5)));
      return g.Add(g.Mul(g.Div(g.Sub(x, mean), deviation), scale), bias);
    }
    return again({ without: ['spatial'], ...(training ? { outputs: 3, attrs: { training_mode: 1 } } : {}) });
  }),

  // At inference, the only mode of the old forms, the data passes unchanged. The content of the mask is undefined; ONNX
  // Runtime fills it with false.
  upgrade('Dropout', { until: 11 }, ({ node, x, from, g }) => {
    if (node.outputs.length < 2) return x;
    const mask = g.Expand(g.constant('bool', [], [0]), g.Shape(x));
    return [x, from < 10 ? g.CastLike(mask, x) : mask];
  }),

  // Scale and bias per group are deprecated, and no provider has a kernel, so the body is expanded.
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
