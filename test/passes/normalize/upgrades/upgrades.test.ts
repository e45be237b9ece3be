import { describe, expect, it } from 'vitest';
import { cloneModel } from '../../../../src/graph/clone.ts';
import type { Model } from '../../../../src/graph/model.ts';
import { parseText } from '../../../../src/parser/index.ts';
import { verify } from '../../../../src/passes/common/verify.ts';
import { normalize } from '../../../../src/passes/normalize/index.ts';
import { coded } from '../../../support/coded.ts';
import { compute, expectSame, type RunOptions } from '../../../support/compute.ts';

interface Case extends RunOptions {
  readonly opset: number;
  /** Signature and nodes of the graph. */
  readonly graph: string;
  /** Operators of the result in order. */
  readonly ops: string;
  /** Where another kernel, or another order of sums, computes the new form. */
  readonly tolerance?: number;
  /** Opset of the result, 18 by default. */
  readonly to?: number;
}

const cases: Readonly<Record<string, Case>> = {
  'ReduceMean with axes': {
    opset: 13,
    graph: '(float[2,3,4] x) => (float[2,1,4] y) { y = ReduceMean <axes = [1]> (x) }',
    ops: 'ReduceMean',
  },
  'ReduceL2 of everything, without kept axes': {
    opset: 11,
    graph: '(float[2,3] x) => (float y) { y = ReduceL2 <keepdims = 0> (x) }',
    ops: 'ReduceL2',
  },
  'ReduceMax, negative axis, opset 12': {
    opset: 12,
    graph: '(float[2,3,4] x) => (float[2,3] y) { y = ReduceMax <axes = [-1], keepdims = 0> (x) }',
    ops: 'ReduceMax',
  },
  'ReduceSum with axes': {
    opset: 12,
    graph: '(float[2,3,4] x) => (float[3] y) { y = ReduceSum <axes = [0, 2], keepdims = 0> (x) }',
    ops: 'ReduceSum',
  },
  Squeeze: {
    opset: 11,
    graph: '(float[2,1,3,1] x) => (float[2,3,1] y) { y = Squeeze <axes = [1]> (x) }',
    ops: 'Squeeze',
  },
  'Squeeze of all ones': {
    opset: 7,
    graph: '(float[2,1,3,1] x) => (float[2,3] y) { y = Squeeze (x) }',
    ops: 'Squeeze',
  },
  Unsqueeze: {
    opset: 12,
    graph: '(float[2,3] x) => (float[2,1,3,1] y) { y = Unsqueeze <axes = [1, 3]> (x) }',
    ops: 'Unsqueeze',
  },
  'Softmax over the last axis': {
    opset: 11,
    graph: '(float[2,3,4] x) => (float[2,3,4] y) { y = Softmax <axis = 2> (x) }',
    ops: 'Softmax',
  },
  'Softmax of a matrix, default axis': {
    opset: 7,
    graph: '(float[2,4] x) => (float[2,4] y) { y = Softmax (x) }',
    ops: 'Softmax',
  },
  'Softmax over channels with lengths of 1 behind': {
    opset: 9,
    graph: '(float[2,4,1,1] x) => (float[2,4,1,1] y) { y = Softmax (x) }',
    ops: 'Softmax',
  },
  'Softmax that cuts in the middle': {
    opset: 12,
    graph: '(float[2,3,4] x) => (float[2,3,4] y) { y = Softmax (x) }',
    ops: 'Flatten Softmax Reshape',
  },
  'Softmax of everything': {
    opset: 10,
    graph: '(float[2,3] x) => (float[2,3] y) { y = Softmax <axis = 0> (x) }',
    ops: 'Flatten Softmax Reshape',
  },
  'LogSoftmax, symbolic lengths, negative axis': {
    opset: 11,
    graph: '(float[N,S,4] x) => (float[N,S,4] y) { y = LogSoftmax <axis = -2> (x) }',
    ops: 'Flatten LogSoftmax Shape Reshape',
    sizes: { N: 2, S: 3 },
  },
  'Softmax of a rank that only inference tells': {
    opset: 11,
    graph: '(float[N,4] x) => (float[N,4] y) { a = Relu (x) b = Softmax (a) y = Neg (b) }',
    ops: 'Relu Softmax Neg',
    sizes: { N: 3 },
  },
  Hardmax: {
    opset: 11,
    graph: '(float[2,3,4] x) => (float[2,3,4] y) { y = Hardmax <axis = 1> (x) }',
    ops: 'Flatten Hardmax Reshape',
  },
  'Clip with both bounds': {
    opset: 7,
    graph: '(float[9] x) => (float[9] y) { y = Clip <min = 0.25, max = 0.75> (x) }',
    ops: 'Clip',
  },
  'Clip from above': {
    opset: 10,
    graph: '(float[9] x) => (float[9] y) { y = Clip <max = 0.5> (x) }',
    ops: 'Clip',
  },
  'Clip with its own defaults written out': {
    opset: 6 + 1,
    graph: '(float[9] x) => (float[9] y) { y = Clip <min = -3.4028234663852886e38, max = 0.5> (x) }',
    ops: 'Clip',
  },
  'Pad with a value': {
    opset: 10,
    graph: '(float[2,3] x) => (float[3,6] y) { y = Pad <pads = [1, 0, 0, 3], value = 2.5> (x) }',
    ops: 'Pad',
  },
  'Pad by reflection': {
    opset: 7,
    graph: '(float[2,4] x) => (float[2,7] y) { y = Pad <mode = "reflect", pads = [0, 1, 0, 2]> (x) }',
    ops: 'Pad',
  },
  Slice: {
    opset: 9,
    graph: '(float[4,5] x) => (float[2,5] y) { y = Slice <starts = [1], ends = [3]> (x) }',
    ops: 'Slice',
  },
  'Slice to the end of an axis': {
    opset: 7,
    graph:
      '(float[4,5] x) => (float[4,3] y) { y = Slice <axes = [1], starts = [-3], ends = [9223372036854775807]> (x) }',
    ops: 'Slice',
  },
  TopK: {
    opset: 9,
    graph: '(float[2,5] x) => (float[2,3] y, int64[2,3] i) { y, i = TopK <k = 3, axis = 1> (x) }',
    ops: 'TopK',
  },
  'TopK with k as input': {
    opset: 10,
    graph: '(float[2,5] x) => (float[2,2] y, int64[2,2] i) <int64[1] k = {2}> { y, i = TopK (x, k) }',
    ops: 'TopK',
  },
  'Split in unequal parts': {
    opset: 12,
    graph: '(float[2,5] x) => (float[2,2] y, float[2,3] z) { y, z = Split <axis = 1, split = [2, 3]> (x) }',
    ops: 'Split',
  },
  'Split in equal parts': {
    opset: 11,
    graph: '(float[4,2] x) => (float[2,2] y, float[2,2] z) { y, z = Split (x) }',
    ops: 'Split',
  },
  'Split in equal parts, opset 17': {
    opset: 17,
    graph: '(float[4,2] x) => (float[2,2] y, float[2,2] z) { y, z = Split (x) }',
    ops: 'Split',
  },
  'Split with lengths as input': {
    opset: 13,
    graph: '(float[2,5] x) => (float[2,4] y, float[2,1] z) <int64[2] s = {4, 1}> { y, z = Split <axis = 1> (x, s) }',
    ops: 'Split',
  },
  'Dropout at inference': {
    opset: 10,
    graph: '(float[2,5] x) => (float[2,5] y) { a, m = Dropout <ratio = 0.3> (x) y = Neg (a) }',
    ops: 'Neg',
  },
  'Dropout whose mask is an output': {
    opset: 10,
    graph: '(float[2,5] x) => (float[2,5] y, bool[2,5] m) { y, m = Dropout (x) }',
    ops: 'Identity Identity',
  },
  'Dropout of opset 7 whose mask is an output': {
    opset: 7,
    graph: '(float[2,N] x) => (float[2,N] y, float[2,N] m) { y, m = Dropout (x) }',
    ops: 'Shape Expand CastLike Identity',
    sizes: { N: 3 },
  },
  'Dropout with training_mode false': {
    opset: 13,
    graph: '(float[2,5] x) => (float[2,5] y) <float r = {0.5}, bool t = {0}> { a = Dropout (x, r, t) y = Neg (a) }',
    ops: 'Neg',
  },
  'Upsample by attribute': {
    opset: 7,
    graph: '(float[1,1,2,3] x) => (float[1,1,4,9] y) { y = Upsample <scales = [1.0, 1.0, 2.0, 3.0]> (x) }',
    ops: 'Resize',
  },
  'Upsample by input, linear': {
    opset: 9,
    graph:
      '(float[1,1,2,3] x) => (float[1,1,4,9] y) <float[4] s = {1, 1, 2, 3}> { y = Upsample <mode = "linear"> (x, s) }',
    ops: 'Resize',
    tolerance: 1e-6,
  },
  'Resize down': {
    opset: 10,
    graph: '(float[1,1,4,6] x) => (float[1,1,H,W] y) <float[4] s = {1, 1, 0.6, 0.5}> { y = Resize (x, s) }',
    ops: 'Resize',
  },
  'Resize up by a fraction': {
    opset: 10,
    graph: '(float[1,1,4,5] x) => (float[1,1,H,W] y) <float[4] s = {1, 1, 1.3, 1.7}> { y = Resize (x, s) }',
    ops: 'Resize',
  },
  'Resize down and up': {
    opset: 10,
    graph: '(float[1,1,4,6] x) => (float[1,1,H,W] y) <float[4] s = {1, 1, 2.5, 0.6}> { y = Resize (x, s) }',
    ops: 'Resize Resize',
  },
  'Resize, linear': {
    opset: 10,
    graph:
      '(float[1,1,4,6] x) => (float[1,1,H,W] y) <float[4] s = {1, 1, 2, 0.5}> { y = Resize <mode = "linear"> (x, s) }',
    ops: 'Resize',
    tolerance: 1e-6,
  },
  Scatter: {
    opset: 9,
    graph:
      '(float[3,3] x) => (float[3,3] y) <int64[1,2] i = {1, 2}, float[1,2] u = {5, 6}> { y = Scatter <axis = 1> (x, i, u) }',
    ops: 'ScatterElements',
  },
  'BatchNormalization with spatial': {
    opset: 7,
    graph: `(float[2,3,4] x) => (float[2,3,4] y)
      <float[3] s = {1, 2, 3}, float[3] b = {0, 1, 0}, float[3] m = {0.1, 0.2, 0.3}, float[3] v = {1, 2, 4}>
      { y = BatchNormalization <spatial = 1, epsilon = 0.01> (x, s, b, m, v) }`,
    ops: 'BatchNormalization',
  },
  'BatchNormalization per position': {
    opset: 7,
    graph: `(float[2,3,2] x) => (float[2,3,2] y)
      <float[3,2] s = {1, 2, 3, 4, 5, 6}, float[3,2] b = {0, 1, 0, 1, 0, 1}, float[3,2] m = {0, 1, 2, 3, 4, 5},
       float[3,2] v = {1, 2, 4, 1, 2, 4}>
      { y = BatchNormalization <spatial = 0> (x, s, b, m, v) }`,
    ops: 'Sub Div Mul Add',
    tolerance: 1e-6,
  },
  'BatchNormalization in training form': {
    opset: 9,
    graph: `(float[2,3,4] x) => (float[2,3,4] y, float[3] a, float[3] c)
      <float[3] s = {1, 2, 3}, float[3] b = {0, 1, 0}, float[3] m = {0.1, 0.2, 0.3}, float[3] v = {1, 2, 4}>
      { y, a, c, d, e = BatchNormalization (x, s, b, m, v) }`,
    ops: 'BatchNormalization',
  },
  GroupNormalization: {
    opset: 18,
    graph: `(float[2,4,3] x) => (float[2,4,3] y) <float[2] s = {1, 2}, float[2] b = {0, 1}>
      { y = GroupNormalization <num_groups = 2, epsilon = 0.01> (x, s, b) }`,
    ops: 'Reshape ReduceMean Sub Mul ReduceMean Add Sqrt Div Mul Add Reshape',
    tolerance: 1e-6,
  },
  'GroupNormalization to opset 21': {
    opset: 20,
    to: 21,
    graph: `(float[N,4,3] x) => (float[N,4,3] y) <float[2] s = {1, 2}, float[2] b = {0, 1}>
      { y = GroupNormalization <num_groups = 2> (x, s, b) }`,
    ops: 'Reshape ReduceMean Sub Mul ReduceMean Add Sqrt Div Mul Add Shape Reshape',
    tolerance: 1e-6,
  },
  RoiAlign: {
    opset: 12,
    graph: `(float[1,1,6,6] x) => (float[1,1,2,2] y) <float[1,4] r = {1, 1, 4, 4}, int64[1] i = {0}>
      { y = RoiAlign <output_height = 2, output_width = 2, sampling_ratio = 2> (x, r, i) }`,
    ops: 'RoiAlign',
  },
  'GridSample to opset 20': {
    opset: 16,
    to: 20,
    graph: `(float[1,1,4,4] x) => (float[1,1,1,2] y) <float[1,1,2,2] g = {0.1, 0.2, -0.4, 0.9}>
      { y = GridSample (x, g) }`,
    ops: 'GridSample',
  },
  'DFT to opset 20': {
    opset: 17,
    to: 20,
    graph: '(float[1,8,1] x) => (float[1,8,2] y) { y = DFT (x) }',
    ops: 'DFT',
  },
  'Scan with a batch axis': {
    opset: 8,
    graph: `(float[2,3] h, float[2,4,3] x) => (float[2,3] hn, float[2,4,3] y)
      { hn, y = Scan <num_scan_inputs = 1, body = step (float[3] a, float[3] b) => (float[3] c, float[3] d)
        { c = Add (a, b) d = Identity (c) }> ("", h, x) }`,
    ops: 'Scan Scan Add Identity',
  },
  'Scan with a batch axis, backwards, with a body of its opset and a captured value': {
    opset: 8,
    graph: `(float[2,3] h, float[2,4,3] x, float[2,4,3] z) => (float[2,3] hn, float[2,4,1] y) <float[3] w = {1, 2, 3}>
      { hn, y = Scan <num_scan_inputs = 2, directions = [1, 0], body = step (float[3] a, float[3] b, float[3] e) => (float[3] c, float[1] d)
        { f = Mul (a, w) g = Add (f, b) c = Sub (g, e) d = ReduceSum <axes = [0]> (c) }> ("", h, x, z) }`,
    ops: 'Scan Scan Mul Add Sub ReduceSum',
    tolerance: 1e-6,
  },
  'a body is upgraded too': {
    opset: 11,
    graph: `(bool c, float[2,3] x) => (float[N] y)
      { y = If (c) <then_branch = t () => (float[2] a) { a = ReduceMean <axes = [1], keepdims = 0> (x) },
                    else_branch = e () => (float[3] b) { b = ReduceMean <axes = [0], keepdims = 0> (x) }> }`,
    ops: 'If ReduceMean ReduceMean',
  },
  Affine: {
    opset: 9,
    graph: '(float[2,2,4,4] x) => (float[N,C,H,W] y) { y = Affine <alpha = 2.0, beta = 1.0> (x) }',
    ops: 'Mul Add',
    tolerance: 1e-6,
  },
  Scale: {
    opset: 9,
    graph: '(float[2,2,4,4] x) => (float[N,C,H,W] y) { y = Scale <scale = 2.0> (x) }',
    ops: 'Mul',
    tolerance: 1e-6,
  },
  ImageScaler: {
    opset: 9,
    graph: '(float[2,2,4,4] x) => (float[N,C,H,W] y) { y = ImageScaler <scale = 2.0, bias = [1.0, 2.0]> (x) }',
    ops: 'Mul Add',
    tolerance: 1e-6,
  },
  ScaledTanh: {
    opset: 9,
    graph: '(float[2,2,4,4] x) => (float[N,C,H,W] y) { y = ScaledTanh <alpha = 2.0, beta = 0.5> (x) }',
    ops: 'Mul Tanh Mul',
    tolerance: 1e-6,
  },
  ParametricSoftplus: {
    opset: 9,
    graph: '(float[2,2,4,4] x) => (float[N,C,H,W] y) { y = ParametricSoftplus <alpha = 2.0, beta = 0.5> (x) }',
    ops: 'Mul Softplus Mul',
    tolerance: 1e-6,
  },
  Crop: {
    opset: 9,
    graph: '(float[2,2,4,4] x) => (float[N,C,H,W] y) { y = Crop <border = [1, 0, 1, 2]> (x) }',
    ops: 'Slice',
    tolerance: 1e-6,
  },
  'Crop to a size': {
    opset: 9,
    graph: '(float[2,2,4,4] x) => (float[N,C,H,W] y) { y = Crop <border = [1, 2, 0, 0], scale = [2, 1]> (x) }',
    ops: 'Slice',
    tolerance: 1e-6,
  },
  'MeanVarianceNormalization of opset 8': {
    opset: 8,
    graph:
      '(float[2,2,4,4] x) => (float[N,C,H,W] y) { y = MeanVarianceNormalization <across_channels = 0, normalize_variance = 1> (x) }',
    ops: 'MeanVarianceNormalization',
    tolerance: 1e-5,
  },
  'MeanVarianceNormalization across channels': {
    opset: 8,
    graph:
      '(float[2,2,4,4] x) => (float[N,C,H,W] y) { y = MeanVarianceNormalization <across_channels = 1, normalize_variance = 1> (x) }',
    ops: 'MeanVarianceNormalization',
    tolerance: 1e-5,
  },
  'MeanVarianceNormalization of the mean only': {
    opset: 8,
    graph:
      '(float[2,2,4,4] x) => (float[N,C,H,W] y) { y = MeanVarianceNormalization <across_channels = 1, normalize_variance = 0> (x) }',
    ops: 'ReduceMean Sub',
    tolerance: 1e-5,
  },
  'Gemm, OneHot, Cast keep their form': {
    opset: 10,
    graph: `(float[2,3] x) => (float[2,2,5] y)
      <float[3,2] w = {1, 2, 3, 4, 5, 6}, float[2] b = {1, 2}, int64 depth = {5}, float[2] on = {0, 1}>
      { p = Gemm <alpha = 0.1> (x, w, b) q = Cast <to = 7> (p) y = OneHot (q, depth, on) }`,
    ops: 'Gemm Cast OneHot',
  },
  'OneHot of negative indices': {
    opset: 9,
    graph: `(float[2] x) => (float[2,3] y) <int64[2] i = {-1, 2}, int64 depth = {3}, float[2] on = {0, 1}>
      { p = OneHot (i, depth, on) q = Unsqueeze <axes = [1]> (x) y = Mul (p, q) }`,
    ops: 'OneHot Unsqueeze Mul',
  },
  'AveragePool with automatic padding': {
    opset: 10,
    graph: `(float[1,1,5,5] x) => (float[1,1,3,3] y)
      { y = AveragePool <kernel_shape = [2, 2], strides = [2, 2], auto_pad = "SAME_LOWER", count_include_pad = 1> (x) }`,
    ops: 'AveragePool',
  },
  'MaxPool with rounding up': {
    opset: 10,
    graph: `(float[1,1,6,6] x) => (float[1,1,3,3] y, int64[1,1,3,3] i)
      { y, i = MaxPool <kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1> (x) }`,
    ops: 'MaxPool',
  },
  'ConvTranspose with automatic padding': {
    opset: 10,
    graph: `(float[1,1,3,3] x) => (float[1,1,6,6] y) <float[1,1,3,3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9}>
      { y = ConvTranspose <strides = [2, 2], auto_pad = "SAME_UPPER", output_shape = [6, 6]> (x, w) }`,
    ops: 'ConvTranspose',
  },
  'Resize with a mode that was dropped': {
    opset: 11,
    graph: `(float[1,1,4,4] x) => (float[1,1,8,6] y) <float[0] roi = {}, float[4] s = {1, 1, 2, 1.5}>
      { y = Resize <coordinate_transformation_mode = "tf_half_pixel_for_nn", nearest_mode = "floor"> (x, roi, s) }`,
    ops: 'Resize',
  },
  'Resize to sizes': {
    opset: 11,
    graph: `(float[1,1,4,4] x) => (float[1,1,3,6] y) <float[0] roi = {}, float[0] s = {}, int64[4] z = {1, 1, 3, 6}>
      { y = Resize <mode = "cubic", coordinate_transformation_mode = "align_corners"> (x, roi, s, z) }`,
    ops: 'Resize',
  },
};

const text = (c: Case): string => `<ir_version: 7, opset_import: ["" : ${c.opset}]> main ${c.graph}`;
const ops = (m: Model): string => [...m.graph.allNodes()].map((n) => n.op).join(' ');

describe('upgrade', () => {
  for (const [name, c] of Object.entries(cases))
    it(name, async () => {
      const source = parseText(text(c));
      verify(source);
      const { model } = cloneModel(source);
      normalize(model, c.to === undefined ? {} : { opset: c.to });
      expect(ops(model)).toBe(c.ops);
      expect(model.opsets.get('')).toBe(c.to ?? 18);
      expect(model.graph.outputs.map((v) => v.name)).toEqual(source.graph.outputs.map((v) => v.name));
      expectSame(await compute(model, c), await compute(source, c), c.tolerance);
    });
});

describe('an old form that has no newer one is refused', () => {
  const refused = (opset: number, graph: string, ...fragments: string[]): void => {
    const model = parseText(`<ir_version: 7, opset_import: ["" : ${opset}]> main ${graph}`);
    expect(() => normalize(model)).toThrow(expect.toSatisfy(coded('UNSUPPORTED_VERSION', ...fragments)));
  };

  it('Scan with the lengths of its sequences', () => {
    refused(
      8,
      `(float[2,4,3] x, int64[2] n) => (float[2,4,3] y)
       { y = Scan <num_scan_inputs = 1, body = step (float[3] a) => (float[3] b) { b = Neg (a) }> (n, x) }`,
      'sequence lengths',
    );
  });

  it('BatchNormalization whose saved statistics are read', () => {
    refused(
      9,
      `(float[2,3] x, float[3] s) => (float[2,3] y, float[3] z)
       { y, a, b, c, d = BatchNormalization (x, s, s, s, s) z = Neg (d) }`,
      '"d"',
    );
  });
});
