/**
 * Experimental operators that were dropped before opset 10 and that ONNX Runtime still runs below it; they occur in old
 * exports of CNTK, Core ML and Caffe2. Their definitions: onnxruntime/core/graph/contrib_ops/contrib_defs.cc.
 */
import { type Upgrade, upgrade } from '../upgrade.ts';

const until = 9;

export const experimentalUpgrades: readonly Upgrade[] = [
  upgrade('Affine', { until }, ({ x, attrs, g }) =>
    g.Add(g.Mul(x, g.like(x, attrs.float('alpha') ?? 1)), g.like(x, attrs.float('beta') ?? 0)),
  ),

  upgrade('Scale', { until }, ({ x, attrs, g }) => g.Mul(x, g.like(x, attrs.float('scale') ?? 1))),

  upgrade('ImageScaler', { until }, ({ x, attrs, g }) => {
    const scaled = g.Mul(x, g.like(x, attrs.float('scale') ?? 1));
    const bias = attrs.floats('bias') ?? [];
    return g.Add(scaled, g.constant(x.dtype ?? 'float32', [1, bias.length, 1, 1], bias));
  }),

  upgrade('ScaledTanh', { until }, ({ x, attrs, g }) =>
    g.Mul(g.like(x, attrs.float('alpha') ?? 1), g.Tanh(g.Mul(g.like(x, attrs.float('beta') ?? 1), x))),
  ),

  upgrade('ParametricSoftplus', { until }, ({ x, attrs, g }) =>
    g.Mul(g.like(x, attrs.float('alpha') ?? 1), g.Softplus(g.Mul(g.like(x, attrs.float('beta') ?? 1), x))),
  ),

  // Borders are left, top, right, bottom; a scale is the remaining height and width.
  upgrade('Crop', { until }, ({ x, attrs, g }) => {
    const [left = 0, top = 0, right = 0, bottom = 0] = attrs.ints('border') ?? [];
    const [height, width] = attrs.ints('scale') ?? [];
    const end = (from: number, length: number | undefined, border: number): number =>
      length !== undefined ? from + length : border > 0 ? -border : Number.MAX_SAFE_INTEGER;
    return g.Slice(x, g.ints([top, left]), g.ints([end(top, height, bottom), end(left, width, right)]), g.ints([2, 3]));
  }),

  upgrade('MeanVarianceNormalization', { until: 8 }, ({ x, attrs, g }) => {
    const axes = attrs.int('across_channels') === 1 ? [0, 1, 2, 3] : [0, 2, 3];
    if (attrs.int('normalize_variance') !== 0) return g.MeanVarianceNormalization(x, { axes });
    return g.Sub(x, g.ReduceMean(x, g.ints(axes)));
  }),
];
