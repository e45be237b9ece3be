/**
 * Before opset 13 Softmax, LogSoftmax and Hardmax flattened their input to a matrix at the axis (1 by default), and
 * normalized whole rows of it. https://onnx.ai/onnx/operators/onnx__Softmax.html#softmax-11
 */
import { type Upgrade, upgrade } from '../upgrade.ts';

export const softmaxUpgrades: readonly Upgrade[] = [
  upgrade(['Softmax', 'LogSoftmax', 'Hardmax'], { until: 12 }, ({ x, attrs, g, again }) => {
    const axis = attrs.int('axis') ?? 1;
    const shape = x.shape;
    const at = shape === undefined || axis >= 0 ? axis : axis + shape.length;
    // A row is one axis if that axis is the last, or is followed only by dims of 1.
    if (shape !== undefined && at < shape.length && shape.slice(at + 1).every((d) => d === 1))
      return again({ attrs: { axis: at === shape.length - 1 ? -1 : at } });
    const [rows] = again({ inputs: [g.Flatten(x, { axis })], attrs: { axis: -1 } });
    return rows === undefined ? [] : g.Reshape(rows, g.Shape(x), { allowzero: 1 });
  }),
];
