/** Cases of operators that rearrange, pick and place elements. */
import { axisOf, positive, range, shuffled, vector, withDim } from './choices.ts';
import type { Make } from './oracle.ts';

export const layoutCases: Readonly<Record<string, Make>> = {
  Reshape: (c, g, input) => {
    const dims = c.dims(1, 4);
    const total = dims.reduce((n, d) => n * d, 1);
    const cut = c.int(0, dims.length);
    const tail = dims.slice(cut);
    const target = c.of([
      [-1],
      [total],
      [0, -1],
      [...dims.slice(0, cut).map(() => 0), -1],
      [-1, ...tail],
      [1, total, 1],
    ]);
    return g.Reshape(input('float32', dims), vector(c, g, target));
  },
  'Reshape of elements': (_, g, input) => g.Reshape(g.Shape(input('float32', [2, 3, 4])), g.ints([1, 3])),
  'Reshape to a computed target': (_, g, input) => {
    const x = input('float32', [2, 3, 8]);
    const n = g.Slice(g.Shape(x), g.ints([0]), g.ints([1]));
    const s = g.Gather(g.Shape(x), g.ints([1]));
    return [
      g.Reshape(x, g.Concat([n, s, g.ints([2]), g.ints([-1])], { axis: 0 })),
      g.Reshape(x, g.Concat([g.Mul(n, s), g.ints([-1])], { axis: 0 })),
    ];
  },
  Flatten: (c, g, input) => {
    const dims = c.dims(1, 4);
    return g.Flatten(input('float32', dims), { axis: c.int(-dims.length, dims.length) });
  },
  Transpose: (c, g, input) => {
    const dims = c.dims(1, 4);
    return g.Transpose(input('float32', dims), { perm: c.flip() ? shuffled(c, dims.length) : undefined });
  },
  Squeeze: (c, g, input) => g.Squeeze(input('float32', [1, 3, 1, 2]), c.of([g.ints([0]), g.ints([-2, 0]), undefined])),
  Unsqueeze: (c, g, input) =>
    g.Unsqueeze(input('float32', c.dims(1, 3)), vector(c, g, c.of([[0], [-1], [0, -1], [1, 0]]))),
  Expand: (c, g, input) => {
    const dims = c.dims(1, 4);
    return g.Expand(input('float32', c.broadcastable(dims)), vector(c, g, dims));
  },
  Concat: (c, g, input) => {
    const dims = c.dims(1, 4);
    const axis = axisOf(c, dims.length);
    const parts = range(c.int(1, 4)).map(() =>
      input('float32', withDim(dims, positive(axis, dims.length), c.int(1, 4))),
    );
    return g.Concat(parts, { axis });
  },
  Split: (c, g, input) => {
    const [count, rank] = [c.int(1, 3), 3];
    const axis = axisOf(c, rank);
    const sizes = range(count).map(() => c.int(1, 3));
    const dims = withDim(
      [2, 3, 4],
      positive(axis, rank),
      sizes.reduce((a, b) => a + b, 0),
    );
    return g.node({
      op: 'Split',
      inputs: [input('float32', dims), vector(c, g, sizes)],
      attrs: { axis },
      outputs: count,
    });
  },
  'Split in equal parts': (c, g, input) => {
    const d = c.int(5, 12);
    return g.node({ op: 'Split', inputs: [input('float32', [2, d])], attrs: { axis: 1, num_outputs: 3 }, outputs: 3 });
  },
  Slice: (c, g, input) => {
    const dims = c.dims(2, 4, 7);
    const at = shuffled(c, dims.length).slice(0, c.int(1, dims.length));
    const bound = (): number => c.of([0, 1, 2, -1, -2, -3, 5, 9, -9, 2147483647, -2147483647]);
    const steps = at.map(() => c.of([1, 1, 2, 3, -1, -2]));
    return g.Slice(input('float32', dims), g.ints(at.map(bound)), g.ints(at.map(bound)), g.ints(at), g.ints(steps));
  },
  'Slice by lengths': (_, g, input) => {
    const [table, x] = [input('float32', [1, 9]), input('float32', [2, 5])];
    const s = g.Slice(g.Shape(x), g.ints([1]), g.ints([2]));
    const less = g.Sub(s, g.ints([1]));
    return [
      g.Slice(table, g.ints([0]), s, g.ints([1])),
      g.Slice(x, g.ints([0]), g.ints([-1]), g.ints([1])),
      g.Slice(x, g.ints([1]), g.ints([2 ** 62]), g.ints([1])),
      g.Slice(x, g.ints([0]), less, g.ints([1])),
      g.Slice(x, g.ints([-1]), g.ints([-2147483647]), g.ints([1]), g.ints([-1])),
    ];
  },
  Tile: (c, g, input) => {
    const dims = c.dims(1, 3);
    return g.Tile(
      input('float32', dims),
      vector(
        c,
        g,
        dims.map(() => c.int(1, 3)),
      ),
    );
  },
  Pad: (c, g, input) => {
    const dims = c.dims(2, 3);
    return g.Pad(
      input('float32', dims),
      vector(
        c,
        g,
        range(dims.length * 2).map(() => c.int(0, 2)),
      ),
      g.float(0),
    );
  },
  'Pad of some axes': (c, g, input) =>
    g.Pad(input('float32', [2, 3, 4]), g.ints([1, 2, 0, c.int(0, 3)]), undefined, g.ints([-1, 0])),
  DepthToSpace: (_, g, input) => g.DepthToSpace(input('float32', [2, 12, 3, 4]), { blocksize: 2 }),
  SpaceToDepth: (_, g, input) => g.SpaceToDepth(input('float32', [2, 3, 4, 6]), { blocksize: 2 }),
  CenterCropPad: (_, g, input) => g.CenterCropPad(input('float32', [4, 5, 3]), g.ints([2, 7]), { axes: [0, 1] }),
  Trilu: (_, g, input) => g.Trilu(input('float32', [2, 4, 5])),
  'Resize by scales': (c, g, input) =>
    g.Resize(
      input('float32', [1, 2, 5, 6]),
      undefined,
      g.constant('float32', [4], [1, 1, c.of([2, 1.5, 0.5, 0.7]), 2]),
    ),
  'Resize to sizes': (c, g, input) =>
    g.Resize(input('float32', [1, 2, 5, 6]), undefined, undefined, g.ints([1, 2, c.int(3, 9), 7])),
  'Resize of axes': (c, g, input) =>
    g.Resize(input('float32', [1, 2, 5, 6]), undefined, undefined, g.ints([c.int(3, 9), 7]), {
      axes: [2, 3],
      keep_aspect_ratio_policy: c.of(['stretch', 'not_larger', 'not_smaller']),
    }),
  ReverseSequence: (_, g, input) => g.ReverseSequence(input('float32', [3, 2, 4]), g.ints([2, 3])),
};

export const indexingCases: Readonly<Record<string, Make>> = {
  Gather: (c, g, input) => {
    const dims = c.dims(1, 3);
    const places = c.dims(0, 3);
    return g.Gather(
      input('float32', dims),
      input(
        'int64',
        places,
        range(places.reduce((n, d) => n * d, 1)).map(() => 0),
      ),
      { axis: axisOf(c, dims.length) },
    );
  },
  'Gather of elements': (_, g, input) => {
    const shape = g.Shape(input('float32', [2, 3, 4]));
    return [
      g.Gather(shape, g.int(-1)),
      g.Gather(shape, g.ints([1, 0])),
      g.Gather(shape, g.constant('int64', [1, 2], [2, 2])),
    ];
  },
  GatherElements: (_, g, input) => g.GatherElements(input('float32', [3, 4]), input('int64', [2, 4]), { axis: 0 }),
  GatherND: (c, g, input) => {
    const [batch, depth] = [c.int(0, 1), c.int(1, 2)];
    const dims = [2, ...(batch === 1 ? [3] : []), depth];
    return g.GatherND(
      input('float32', [2, 3, 4, 5]),
      input(
        'int64',
        dims,
        range(dims.reduce((n, d) => n * d, 1)).map(() => 0),
      ),
      { batch_dims: batch },
    );
  },
  ScatterElements: (_, g, input) =>
    g.ScatterElements(input('float32', [3, 4]), input('int64', [2, 4]), input('float32', [2, 4]), { axis: 0 }),
  ScatterND: (_, g, input) => g.ScatterND(input('float32', [3, 4]), input('int64', [2, 1]), input('float32', [2, 4])),
  'ScatterND into a shape': (_, g, input) =>
    g.ScatterND(g.Shape(input('float32', [3, 4])), g.constant('int64', [1, 1], [-1]), g.ints([7])),
  OneHot: (c, g, input) =>
    g.OneHot(input('int64', [2, 3]), c.of([g.int(4), g.ints([4])]), g.constant('float32', [2], [0, 1]), {
      axis: axisOf(c, 3),
    }),
  TopK: (c, g, input) =>
    g.node({
      op: 'TopK',
      inputs: [input('float32', [2, 5, 4]), g.ints([2])],
      attrs: { axis: axisOf(c, 3) },
      outputs: 2,
    }),
  '~NonZero': (_, g, input) => g.NonZero(input('float32', [2, 3])),
  'NonZero of elements': (_, g) => g.NonZero(g.ints([3, 0, 5])),
  '~Compress': (c, g, input) =>
    g.Compress(input('float32', [2, 3]), input('bool', [3]), { axis: c.of([1, undefined]) }),
  '~Unique': (c, g, input) =>
    g.node({ op: 'Unique', inputs: [input('int64', [4, 3])], attrs: { axis: c.of([0, 1, undefined]) }, outputs: 4 }),
  CumSum: (_, g, input) => g.CumSum(input('float32', [2, 3]), g.int(1)),
};
