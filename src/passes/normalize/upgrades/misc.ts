/** Renamed operators, modes and changed defaults. */
import { dataTypeNumber } from '../../../graph/tensor.ts';
import { type Upgrade, upgrade } from '../upgrade.ts';

const gridModes: Readonly<Record<string, string>> = { bilinear: 'linear', bicubic: 'cubic' };

export const miscUpgrades: readonly Upgrade[] = [
  // Functions cast to whatever their argument is; once inlined, that is mostly known.
  upgrade('CastLike', { until: 26, always: true }, ({ x, inputs: [, like], again }) =>
    like?.dtype === undefined
      ? undefined
      : again({ op: 'Cast', inputs: [x], attrs: { to: dataTypeNumber(like.dtype) } }),
  ),

  upgrade('Scatter', { until: 10 }, ({ again }) => again({ op: 'ScatterElements' })),

  // The half-pixel shift came with 16 and is on by default there.
  upgrade('RoiAlign', { until: 15 }, ({ again }) =>
    again({ attrs: { coordinate_transformation_mode: 'output_half_pixel' } }),
  ),

  upgrade('GridSample', { until: 19 }, ({ attrs, again }) => {
    const mode = attrs.str('mode') ?? 'bilinear';
    return again({ attrs: { mode: gridModes[mode] ?? mode } });
  }),
];
