/** Operators on image-like tensors, except convolutions and pools. */
import { unsupportedShape } from '../../../errors.ts';
import type { Builder } from '../../../graph/builder.ts';
import type { Node, Value } from '../../../graph/model.ts';
import type { AttrsIn } from '../../../graph/operators.ts';
import { knownInts } from '../../common/dimArithmetic.ts';
import type { GradTools } from '../../common/shapeTools.ts';
import { grad } from '../rules.ts';

// Both cropping and padding round the start down, so each is the inverse of the other.
grad('CenterCropPad', ({ inputs: [x], attrs: { axes }, dy, g }) => [
  g.CenterCropPad(dy, g.vector((axes ?? g.axesFrom(x, 0)).map((a) => g.length(x, a))), { axes }),
]);

/** The result is linear in theta, with the grid of the identity as its matrix. */
grad('AffineGrid', ({ inputs: [, size], attrs, dy, g }) => {
  const n = g.rank(dy) - 2;
  const identity = Array.from({ length: n * (n + 1) }, (_, i) => (i % (n + 2) === 0 ? 1 : 0));
  const one = g.CastLike(g.constant('float32', [1, n, n + 1], identity), dy);
  const single = g.Concat([g.ints([1]), g.Slice(size, g.ints([1]), g.ints([n + 2]))], { axis: 0 });
  const places = g.Reshape(g.AffineGrid(one, single, attrs), g.ints([-1, n]));
  const homogeneous = g.Pad(places, g.ints([0, 1]), g.like(dy, 1), g.ints([1]));
  const flat = g.shaped(dy, [g.length(dy, 0), g.times(...g.lengths(dy, 1, n + 1)), n, 1]);
  // A sum instead of a MatMul, because ONNX Runtime fuses the MatMul to one that refuses an empty batch.
  return [g.ReduceSum(g.Mul(flat, g.Unsqueeze(homogeneous, g.ints([1]))), g.ints([1]), { keepdims: 0 })];
});

// The position of each element in the flat result is its index.
grad('MaxUnpool', ({ inputs: [x, indices], dy, g }) => {
  const flat = g.Reshape(dy, g.ints([-1]));
  return [g.reshapeLike(g.Gather(flat, g.Reshape(indices, g.ints([-1]))), x)];
});

/**
 * Resizing is linear and separable: per axis a matrix, which is the result of resizing an identity matrix along that
 * axis, whatever the interpolation. Elements outside a cropped region are constant.
 */
grad('Resize', ({ node, inputs: [x, roi, scales, sizes], attrs, dy, g }) => {
  const { keep_aspect_ratio_policy: policy, axes, extrapolation_value: _, ...how } = attrs;
  const list = (axes ?? g.axesFrom(x, 0)).map((a) => g.axis(x, a));
  const last = g.rank(x) - 1;
  const crops = attrs.coordinate_transformation_mode === 'tf_crop_and_resize';
  const kept = policy === 'stretch' || sizes === undefined ? undefined : deciding(g, node, x, list, sizes, policy);
  return [
    list.reduce((d, axis, i): Value => {
      const [from, to] = [x.shape?.[axis], dy.shape?.[axis]];
      if (sizes !== undefined && kept === undefined && !crops && typeof from === 'number' && from === to) return d;
      const line = g.Range(g.int(0), g.scalar(g.length(x, axis)), g.int(1));
      const identity = g.CastLike(g.Equal(g.Unsqueeze(line, g.ints([1])), line), dy);
      const own = (list: Value, j: number): Value => g.Gather(list, g.ints([j]));
      const region =
        roi === undefined || !crops
          ? undefined
          : g.Concat(
              [own(roi, i), g.like(roi, 0), own(roi, i + list.length), g.like(roi, 1)].map((v) =>
                g.Reshape(v, g.ints([1])),
              ),
              { axis: 0 },
            );
      const scale =
        scales === undefined ? undefined : g.Concat([own(scales, i), g.constant('float32', [1], [1])], { axis: 0 });
      const size = scale === undefined ? g.vector([g.length(dy, axis), g.length(x, axis)]) : undefined;
      const matrix =
        kept === undefined || sizes === undefined
          ? g.Resize(identity, region, scale, size, how)
          : besideDeciding(g, identity, {
              ...kept,
              own: own(sizes, i),
              attrs: { ...how, keep_aspect_ratio_policy: policy },
            });
      if (axis === last) return g.MatMul(d, matrix);
      if (axis === last - 1) return g.MatMul(g.T(matrix), d);
      const swap = g.axesFrom(x, 0).with(axis, last).with(last, axis);
      return g.Transpose(g.MatMul(g.Transpose(d, { perm: swap }), matrix), { perm: swap });
    }, dy),
  ];
});

/** The dim, and the requested dim, of the axis that determines the ratio of all axes. */
interface Deciding {
  readonly length: number;
  readonly wanted: number;
}

function deciding(g: GradTools, node: Node, x: Value, axes: readonly number[], sizes: Value, policy: string): Deciding {
  const wanted = knownInts(sizes);
  const lengths = axes.map((a) => g.length(x, a));
  const all = lengths.flatMap((length, i): Deciding[] => {
    const size = wanted?.[i];
    return typeof length === 'number' && size !== undefined ? [{ length, wanted: size }] : [];
  });
  const [first, ...rest] = all;
  if (first === undefined || all.length < axes.length)
    throw unsupportedShape(`the gradient of Resize with ${policy} needs lengths that are known`, { node: node.label });
  const ratio = (d: Deciding): number => d.wanted / d.length;
  return rest.reduce((a, b) => (ratio(b) < ratio(a) === (policy === 'not_larger') ? b : a), first);
}

interface Beside extends Deciding {
  readonly own: Value;
  readonly attrs: AttrsIn<'Resize'>;
}

/**
 * The identity's first axis resized together with the deciding one, along which the result is constant: as images of
 * one column each.
 */
function besideDeciding(g: Builder & GradTools, identity: Value, { length, wanted, own, attrs }: Beside): Value {
  const columns = g.Unsqueeze(g.T(identity), g.ints([1, 3]));
  const images = g.Expand(columns, g.ints([1, 1, 1, length]));
  const resized = g.Resize(images, undefined, undefined, g.Concat([own, g.ints([wanted])], { axis: 0 }), {
    ...attrs,
    axes: [2, 3],
  });
  return g.T(g.Squeeze(g.Slice(resized, g.ints([0]), g.ints([1]), g.ints([3])), g.ints([1, 3])));
}
