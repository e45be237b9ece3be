/**
 * Upsample and the first Resize. Both place output i at i / scale ("asymmetric") and take, for `nearest`, the sample
 * below it where they enlarge and the one above it where they shrink (ONNX Runtime, upsamplebase.h,
 * ResizeNearestMode::SIMPLE).
 */
import { badModel } from '../../../errors.ts';
import type { Builder } from '../../../graph/builder.ts';
import type { Value } from '../../../graph/model.ts';
import { numbersOf } from '../../../graph/tensor.ts';
import { type Upgrade, upgrade } from '../upgrade.ts';

export const resizeUpgrades: readonly Upgrade[] = [
  upgrade(['Upsample', 'Resize'], { until: 10 }, ({ node, x, inputs, attrs, g }) => {
    const listed = attrs.floats('scales');
    const scales = listed === undefined ? inputs[1] : g.constant('float32', [listed.length], listed);
    if (scales === undefined) throw badModel(`node "${node.label}" (${node.op}) has no scales`, { node: node.label });
    const mode = attrs.str('mode') ?? 'nearest';
    return mode === 'nearest' ? nearest(g, x, scales) : resize(g, x, scales, { mode: 'linear' });
  }),

  // Opset 11 used an empty tensor for "none", and files of later opsets still do.
  upgrade('Resize', { until: 26, always: true }, ({ x, inputs: [, roi, scales, sizes], again }) => {
    const rest = [given(roi), given(scales), given(sizes)];
    return rest.every((v, i) => v === [roi, scales, sizes][i]) ? undefined : again({ inputs: [x, ...rest] });
  }),
];

const given = (v: Value | undefined): Value | undefined => (v?.tensor?.dims.includes(0) ? undefined : v);

const resize = (g: Builder, x: Value, scales: Value, attrs: { mode: string; nearest_mode?: string }): Value =>
  g.Resize(x, undefined, scales, undefined, { coordinate_transformation_mode: 'asymmetric', ...attrs });

/**
 * Enlarging and shrinking axes are independent, so they can be two steps if the scales are not known to be of one kind.
 */
function nearest(g: Builder, x: Value, scales: Value): Value {
  const known = scales.tensor === undefined ? undefined : numbersOf(scales.tensor);
  const up = { mode: 'nearest', nearest_mode: 'floor' };
  const down = { mode: 'nearest', nearest_mode: 'ceil' };
  if (known?.every((s) => s >= 1)) return resize(g, x, scales, up);
  if (known?.every((s) => s <= 1)) return resize(g, x, scales, down);
  const one = g.float(1);
  return resize(g, resize(g, x, g.Max([scales, one]), up), g.Min([scales, one]), down);
}
