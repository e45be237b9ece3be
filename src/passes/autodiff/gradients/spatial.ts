/** Operators on image-like tensors beside convolutions and pools. */
import { unsupportedShape } from '../../../errors.ts';
import type { Value } from '../../../graph/model.ts';
import { grad } from '../rules.ts';

// Both cropping and padding round the start down, so each undoes the other.
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
  const points = g.times(...g.lengths(dy, 1, n + 1));
  return [g.MatMul(g.T(g.shaped(dy, [g.length(dy, 0), points, n])), homogeneous)];
});

// Each element lies at its index of the flat result.
grad('MaxUnpool', ({ inputs: [x, indices], dy, g }) => {
  const flat = g.Reshape(dy, g.ints([-1]));
  return [g.reshapeLike(g.Gather(flat, g.Reshape(indices, g.ints([-1]))), x)];
});

/**
 * Resizing is linear and separable: per axis a matrix, which is what resizing an identity matrix along that axis gives, whatever the
 * interpolation.
 */
grad('Resize', ({ node, inputs: [x, , scales, sizes], attrs, dy, g }) => {
  const { coordinate_transformation_mode: coordinates, keep_aspect_ratio_policy: policy, axes, ...how } = attrs;
  if (coordinates === 'tf_crop_and_resize' || policy !== 'stretch')
    throw unsupportedShape(`Resize with ${coordinates} and ${policy} has no gradient`, { node: node.label });
  const list = (axes ?? g.axesFrom(x, 0)).map((a) => g.axis(x, a));
  const last = g.rank(x) - 1;
  return [
    list.reduce((d, axis, i): Value => {
      const [from, to] = [x.shape?.[axis], dy.shape?.[axis]];
      if (sizes !== undefined && typeof from === 'number' && from === to) return d;
      const line = g.Range(g.int(0), g.scalar(g.length(x, axis)), g.int(1));
      const identity = g.CastLike(g.Equal(g.Unsqueeze(line, g.ints([1])), line), dy);
      const options = { ...how, coordinate_transformation_mode: coordinates };
      const size = g.vector([g.length(dy, axis), g.length(x, axis)]);
      const scale =
        scales === undefined
          ? undefined
          : g.Concat([g.Gather(scales, g.ints([i])), g.constant('float32', [1], [1])], { axis: 0 });
      const matrix = g.Resize(identity, undefined, scale, scale === undefined ? size : undefined, options);
      if (axis === last) return g.MatMul(d, matrix);
      if (axis === last - 1) return g.MatMul(g.T(matrix), d);
      const swap = g.axesFrom(x, 0).with(axis, last).with(last, axis);
      return g.Transpose(g.MatMul(g.Transpose(d, { perm: swap }), matrix), { perm: swap });
    }, dy),
  ];
});
