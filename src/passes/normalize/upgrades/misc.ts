/** Renamed operators, modes and changed defaults. */
import type { Value } from '../../../graph/model.ts';
import { dataTypeNumber } from '../../../graph/tensor.ts';
import { type Upgrade, upgrade } from '../upgrade.ts';

const gridModes: Readonly<Record<string, string>> = { bilinear: 'linear', bicubic: 'cubic' };

export const miscUpgrades: readonly Upgrade[] = [
  // Functions cast to the type of their argument; after inlining, that type is mostly known.
  upgrade('CastLike', { until: 26, always: true }, ({ x, inputs: [, like], again }) =>
    like?.dtype === undefined
      ? undefined
      : again({ op: 'Cast', inputs: [x], attrs: { to: dataTypeNumber(like.dtype) } }),
  ),

  upgrade('Scatter', { until: 10 }, ({ again }) => again({ op: 'ScatterElements' })),

  // The half-pixel shift was added in opset 16 and is the default there.
  upgrade('RoiAlign', { until: 15 }, ({ again }) =>
    again({ attrs: { coordinate_transformation_mode: 'output_half_pixel' } }),
  ),

  // ONNX Runtime has no kernel for the batch-first layout.
  upgrade(['LSTM', 'GRU', 'RNN'], { until: 26, always: true }, ({ node, inputs, attrs, g, again }) => {
    if (attrs.int('layout') !== 1) return undefined;
    const turned = (v: Value | undefined, perm: readonly number[]): Value | undefined => v && g.Transpose(v, { perm });
    // X and the initial states; weights, biases and sequence lengths have no leading batch axis to swap.
    const at = new Set([0, 5, 6]);
    const made = again({
      without: ['layout'],
      inputs: inputs.map((v, i) => (at.has(i) ? turned(v, [1, 0, 2]) : v)),
    });
    return made.map((v, i) =>
      node.outputs[i]?.name === '' ? undefined : turned(v, i === 0 ? [2, 0, 1, 3] : [1, 0, 2]),
    );
  }),

  upgrade('GridSample', { until: 19 }, ({ attrs, again }) => {
    const mode = attrs.str('mode') ?? 'bilinear';
    return again({ attrs: { mode: gridModes[mode] ?? mode } });
  }),
];
