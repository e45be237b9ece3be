/** Operators in forms of older opsets: the gradient of what normalization makes of one, against differences of the old form. */
import { describe, it } from 'vitest';
import { createBuilder } from '../../src/graph/builder.ts';
import { cloneModel } from '../../src/graph/clone.ts';
import type { Value } from '../../src/graph/model.ts';
import { parseText } from '../../src/parser/index.ts';
import { normalize } from '../../src/passes/normalize/index.ts';
import { inferNode } from '../../src/passes/shapes/index.ts';
import {
  checkGraph,
  type Data,
  type Domain,
  distinct,
  normal,
  offZero,
  positive,
  random,
} from '../support/gradients/harness.ts';

/** Opset, signature and nodes; gradients are asked of the floating-point inputs. `N` is 2. */
interface Form {
  readonly opset: number;
  readonly text: string;
  readonly domain: Domain;
}
const form = (opset: number, text: string, domain = normal): Form => ({ opset, text, domain });
const reductions = ['Sum', 'Mean', 'L2', 'L1', 'LogSumExp', 'SumSquare', 'Max', 'Min', 'Prod', 'LogSum'] as const;

const forms: readonly Form[] = [
  ...reductions.flatMap((op) =>
    (op === 'Sum' ? [11] : [11, 13]).map((opset) =>
      form(
        opset,
        `(double[N,3,4] x) => (double[N,4] y, double[1,1,1] z) {
           y = Reduce${op} <axes = [1], keepdims = 0> (x)
           z = Reduce${op} (x)
         }`,
        op === 'LogSum' ? positive : distinct,
      ),
    ),
  ),
  form(11, '(double[2,1,N,1] x) => (double[2,N,1] y) { y = Squeeze <axes = [1]> (x) }'),
  form(12, '(double[N,3] x) => (double[N,1,3,1] y) { y = Unsqueeze <axes = [1, 3]> (x) }'),
  form(11, '(double[N,7] x) => (double[N,2] a, double[N,5] b) { a, b = Split <axis = 1, split = [2, 5]> (x) }'),
  form(11, '(double[N,6] x) => (double[N,3] a, double[N,3] b) { a, b = Split <axis = -1> (x) }'),
  form(13, '(double[N,6] x) => (double[N,3] a, double[N,3] b) { a, b = Split <axis = 1> (x) }'),
  ...['Softmax', 'LogSoftmax'].flatMap((op) => [
    form(11, `(double[N,3,4] x) => (double[N,3,4] y) { y = ${op} (x) }`),
    form(9, `(double[N,3,4] x) => (double[N,3,4] y) { y = ${op} <axis = 2> (x) }`),
    form(12, `(double[N,3] x) => (double[N,3] y) { y = ${op} <axis = 0> (x) }`),
    form(11, `(double[N,3,4] x) => (double[N,3,4] y) { y = ${op} <axis = -2> (x) }`),
  ]),
  form(10, '(float[N,3] x) => (float[N,3] y) { y = Clip <min = -0.4, max = 0.5> (x) }', distinct),
  form(10, '(double[N,4] x) => (double[5,3] y) { y = Pad <pads = [1, -1, 2, 0], value = 2.0> (x) }'),
  form(10, '(double[N,4] x) => (double[N,7] y) { y = Pad <mode = "edge", pads = [0, 1, 0, 2]> (x) }'),
  form(9, '(double[N,5,3] x) => (double[N,3,2] y) { y = Slice <axes = [1, 2], starts = [1, -2], ends = [4, 9]> (x) }'),
  form(9, '(float[N,5] x) => (float[N,2] y, int64[N,2] i) { y, i = TopK <axis = 1, k = 2> (x) }', distinct),
  form(10, '(double[N,4] x) => (double[N,4] y) { y = Dropout <ratio = 0.4> (x) }'),
  form(
    11,
    '(double[N,3] x, double[1,2] u) => (double[N,3] y) { i = Constant <value = int64[1,2] {1, 0}> () y = ScatterElements (x, i, u) }',
  ),
  form(
    10,
    '(float[N,3] x, float[1,2] u) => (float[N,3] y) { i = Constant <value = int64[1,2] {1, 0}> () y = Scatter (x, i, u) }',
  ),
  form(
    9,
    '(float[N,2,3,4] x) => (float[N,2,6,8] y) { s = Constant <value = float[4] {1.0, 1.0, 2.0, 2.0}> () y = Upsample <mode = "linear"> (x, s) }',
  ),
  form(
    7,
    '(float[N,2,3,4] x) => (float[N,2,6,8] y) { y = Upsample <mode = "nearest", scales = [1.0, 1.0, 2.0, 2.0]> (x) }',
  ),
  form(
    10,
    '(float[N,2,3,4] x) => (float[N,2,5,8] y) { s = Constant <value = float[4] {1.0, 1.0, 1.7, 2.0}> () y = Resize <mode = "nearest"> (x, s) }',
  ),
  form(
    7,
    `(double[N,3,4] x, double[3] s, double[3] b, double[3] m, double[3] v) => (double[N,3,4] y) {
       y = BatchNormalization <epsilon = 0.2, spatial = 1> (x, s, b, m, v)
     }`,
    positive,
  ),
  form(7, '(double[N,3] x, double[3] b) => (double[N,3] y) { y = Add (x, b) }'),
  form(
    7,
    '(double[N,3] x, double[3,4] w, double[4] c) => (double[N,4] y) { y = Gemm <alpha = 0.5, beta = 2.0> (x, w, c) }',
  ),
  form(12, '(double[N,3] x, double[3] e) => (double[N,3] y) { y = Pow (x, e) }', positive),
  form(11, '(double[N,4] x) => (double[N,4] y) { a = Constant <value = int64 {1}> () y = CumSum (x, a) }'),
  form(
    18,
    `(float[N,4,3] x, float[2] s, float[2] b) => (float[N,4,3] y) {
       y = GroupNormalization <epsilon = 0.1, num_groups = 2> (x, s, b)
     }`,
    offZero,
  ),
  form(
    8,
    `(float[4,N,2] x, float[1,9,2] w, float[1,9,3] r, float[1,18] b) => (float[4,1,N,3] y, float[1,N,3] h) {
       y, h = GRU <hidden_size = 3> (x, w, r, b)
     }`,
  ),
  form(
    7,
    `(float[4,N,2] x, float[1,12,2] w, float[1,12,3] r) => (float[4,1,N,3] y) {
       y = LSTM <hidden_size = 3, direction = "reverse"> (x, w, r)
     }`,
  ),
  form(17, '(double[N,8,1] x) => (double[N,8,2] y) { y = DFT (x) }'),
  form(17, '(double[N,3,8,1] x) => (double[N,3,5,2] y) { y = DFT <axis = 2, onesided = 1> (x) }'),
  form(18, '(double[N,4,2] x) => (double[N,4,2] y) { y = DFT <inverse = 1> (x) }'),
  form(
    17,
    `(double[N,13,1] x, double[4] w) => (double[N,4,3,2] y) {
       s = Constant <value = int64 {3}> ()
       y = STFT (x, s, w)
     }`,
  ),
  ...['bilinear', 'bicubic'].map((mode) =>
    form(
      16,
      `(float[N,2,4,4] x) => (float[N,2,1,2] y) {
         g = Constant <value = float[2,1,2,2] {0.1, 0.2, -0.4, 0.9, 0.3, -0.7, 1.1, 0.6}> ()
         y = GridSample <mode = "${mode}", padding_mode = "border"> (x, g)
       }`,
    ),
  ),
  form(
    12,
    `(float[N,2,6,6] x) => (float[2,2,2,2] y) {
       r = Constant <value = float[2,4] {1.0, 1.0, 4.0, 4.0, 0.5, 1.5, 5.0, 3.0}> ()
       i = Constant <value = int64[2] {1, 0}> ()
       y = RoiAlign <output_height = 2, output_width = 2, sampling_ratio = 2> (x, r, i)
     }`,
  ),
  // Sequences and optionals.
  form(
    11,
    `(double[N,3] a, double[N,3] b) => (double[2,N,3] y, double[N,3] z) {
       i = Constant <value = int64 {-1}> ()
       e = SequenceEmpty <dtype = 11> ()
       s = SequenceInsert (e, a)
       t = SequenceInsert (s, b, i)
       y = ConcatFromSequence <axis = 0, new_axis = 1> (t)
       z = SequenceAt (t, i)
     }`,
  ),
  form(
    11,
    `(double[N,7] x) => (double[N,3] y, double[N,4] z) {
       p = Constant <value = int64 {3}> ()
       i = Constant <value = int64 {0}> ()
       s = SplitToSequence <axis = 1> (x, p)
       y = SequenceAt (s, i)
       t = SequenceErase (s, i)
       z = ConcatFromSequence <axis = -1> (t)
     }`,
  ),
  form(
    13,
    `(double[3,N] x) => (double[N] y, double[N,3] z) {
       i = Constant <value = int64 {1}> ()
       s = SplitToSequence <axis = 0, keepdims = 0> (x)
       y = SequenceAt (s, i)
       z = ConcatFromSequence <axis = 1, new_axis = 1> (s)
     }`,
  ),
  form(
    17,
    `(double[N,5] x, double[N,1] c) => (double[N,5] y) {
       p = Constant <value = int64[2] {2, 3}> ()
       s = SplitToSequence <axis = 1> (x, p)
       t = SequenceMap <body = each (double[N,M] a, double[N,1] b) => (double[N,M] d) { e = Mul (a, a) d = Mul (e, b) }> (s, c)
       y = ConcatFromSequence <axis = 1> (t)
     }`,
  ),
  form(
    18,
    `(double[N,3] x) => (double[N,3] y) {
       o = Optional (x)
       h = OptionalHasElement (o)
       y = If (h) <then_branch = some () => (double[N,3] a) { v = OptionalGetElement (o) a = Mul (v, v) },
                   else_branch = none () => (double[N,3] b) { b = Identity (x) }>
     }`,
  ),
];

describe('gradients of older forms', () => {
  it.each(forms)('opset $opset: $text', async ({ opset, text, domain }) => {
    const model = parseText(`<ir_version: 7, opset_import: ["": ${opset}]> g ${text}`);
    const { model: source } = cloneModel(model);
    normalize(model);
    const { graph } = model;
    const next = random(opset);
    const inputs = new Map(graph.inputs.map((v): [Value, Data] => [v, dataFor(v, next, domain)]));
    const [type = 'float64'] = graph.inputs.map((v) => v.dtype).filter((t) => t === 'float64' || t === 'float32');
    const outputs = graph.outputs.filter((v) => v.dtype === type);
    graph.outputs.length = 0;
    await checkGraph({
      graph,
      source,
      g: createBuilder(inferNode, graph.inputs, graph.initializers),
      outputs,
      inputs,
      wrt: graph.inputs,
      opset: model.opsets.get('') ?? 18,
      type,
      mode: 'symbolic',
      exact: false,
      // As in the tables.
      ...(type === 'float64' ? { step: 1e-3, tolerance: 1e-8 } : { step: 2e-2, tolerance: 1e-4 }),
    });
  });
});

function dataFor(v: Value, next: () => number, domain: Domain): Data {
  if (v.dtype !== 'float64' && v.dtype !== 'float32') throw new Error(`${v.name} is ${v.dtype}`);
  const dims = (v.shape ?? []).map((d) => (typeof d === 'number' ? d : 2));
  const count = dims.reduce((a, b) => a * b, 1);
  return { type: v.dtype, dims, values: Array.from({ length: count }, (_, i) => domain(next, i, count)) };
}
