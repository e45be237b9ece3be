/**
 * Quantized operators: MatMulNBits against central differences and against the DequantizeLinear that its gradient reads, in all its
 * forms; quantizers against the clipping that they stand for.
 */
import { type Builder, createBuilder } from '../../../src/graph/builder.ts';
import { Graph, type Node, type Value } from '../../../src/graph/model.ts';
import { unpackWeight } from '../../../src/passes/precision/unpackNBits.ts';
import { inferNode } from '../../../src/passes/shapes/index.ts';
import { expectSame } from './decompositions.ts';
import { checkGraph, type Domain, feedsOf, type Mode, normal, random, variables } from './harness.ts';

export interface Packed {
  readonly bits: 2 | 4 | 8;
  readonly K: number;
  readonly block: number;
  readonly zeros: 'none' | 'packed' | 'float';
  readonly x: readonly number[];
  readonly bias?: boolean;
}

/** Full blocks and a short last one, an even and an odd number of them, all ways to give zero points. */
export const packedCases: readonly Packed[] = [
  { bits: 4, K: 32, block: 16, zeros: 'none', x: [3, 32] },
  { bits: 4, K: 40, block: 16, zeros: 'packed', x: [2, 3, 40], bias: true },
  { bits: 4, K: 64, block: 32, zeros: 'packed', x: [64] },
  { bits: 4, K: 37, block: 16, zeros: 'float', x: [3, 37] },
  { bits: 8, K: 32, block: 32, zeros: 'none', x: [2, 2, 32] },
  { bits: 4, K: 32, block: 16, zeros: 'none', x: [0, 32] },
  { bits: 8, K: 50, block: 16, zeros: 'packed', x: [3, 50], bias: true },
  { bits: 2, K: 32, block: 16, zeros: 'none', x: [2, 3, 32] },
  { bits: 2, K: 72, block: 16, zeros: 'packed', x: [3, 72], bias: true },
];

export const packedTitle = ({ bits, K, block, zeros, x }: Packed): string =>
  `MatMulNBits of ${bits} bits, K ${K} in blocks of ${block}, zero points ${zeros}, x [${x}]`;

const N = 5;

function node(c: Packed, g: Builder, x: Value, bias: Value | undefined): Node {
  const next = random(c.K + c.bits);
  const byte = (): number => Math.floor(next() * 256);
  const blocks = Math.ceil(c.K / c.block);
  const list = (n: number, make: () => number): number[] => Array.from({ length: n }, make);
  const size = (c.block * c.bits) / 8;
  const packed = g.constant('uint8', [N, blocks, size], list(N * blocks * size, byte));
  const scale = 8 / 2 ** c.bits;
  const scales = g.constant(
    'float32',
    [N * blocks],
    list(N * blocks, () => scale * (0.1 + next())),
  );
  const width = Math.ceil((blocks * c.bits) / 8);
  const zeros =
    c.zeros === 'none'
      ? undefined
      : c.zeros === 'packed'
        ? g.constant('uint8', [N * width], list(N * width, byte))
        : g.constant(
            'float32',
            [N * blocks],
            list(N * blocks, () => 2 ** c.bits * next()),
          );
  const [y] = g.node({
    op: 'MatMulNBits',
    domain: 'com.microsoft',
    inputs: [x, packed, scales, zeros, undefined, bias],
    attrs: { K: c.K, N, bits: c.bits, block_size: c.block },
    outputs: 1,
  });
  if (y?.producer === undefined) throw new Error('no node');
  return y.producer;
}

/** The gradients of x and of the bias. */
export async function checkPacked(c: Packed, mode: Mode): Promise<void> {
  const graph = new Graph('packed');
  const g = createBuilder(inferNode, graph.inputs);
  const { values, inputs } = variables(graph, { x: c.x }, mode, normal, 'float32');
  const free = variables(graph, c.bias === true ? { bias: [N] } : {}, 'static', normal, 'float32');
  const [[x], [bias]] = [values, free.values];
  if (x === undefined) throw new Error('no input');
  await checkGraph({
    graph,
    g,
    outputs: node(c, g, x, bias).outputs,
    inputs: new Map([...inputs, ...free.inputs]),
    wrt: [x, ...free.values],
    opset: 21,
    type: 'float32',
    mode,
    // Linear: one step says it all, but for rounding of sums over K in float32.
    step: 1,
    tolerance: 1e-5,
    exact: true,
  });
}

export interface Bnb4 {
  /** 0: FP4, 1: NF4. */
  readonly type: 0 | 1;
  readonly K: number;
  readonly block: number;
  readonly x: readonly number[];
}

/** Both tables, blocks within a row and across rows. */
export const bnb4Cases: readonly Bnb4[] = [
  { type: 0, K: 32, block: 16, x: [3, 32] },
  { type: 1, K: 32, block: 16, x: [2, 3, 32] },
  { type: 1, K: 48, block: 16, x: [48] },
];

export async function checkBnb4({ type, K, block, x: shape }: Bnb4, mode: Mode): Promise<void> {
  const graph = new Graph('bnb4');
  const g = createBuilder(inferNode, graph.inputs);
  const { values, inputs } = variables(graph, { x: shape }, mode, normal, 'float32');
  const [x] = values;
  if (x === undefined) throw new Error('no input');
  const next = random(K + type);
  const list = (n: number, make: () => number): number[] => Array.from({ length: n }, make);
  const packed = g.constant(
    'uint8',
    [(N * K) / 2],
    list((N * K) / 2, () => Math.floor(next() * 256)),
  );
  const largest = g.constant(
    'float32',
    [(N * K) / block],
    list((N * K) / block, () => 0.1 + next()),
  );
  const attrs = { K, N, block_size: block, quant_type: type };
  const outputs = g.node({
    op: 'MatMulBnb4',
    domain: 'com.microsoft',
    inputs: [x, packed, largest],
    attrs,
    outputs: 1,
  });
  const linear = { opset: 21, type: 'float32', step: 1, tolerance: 1e-5, exact: true } as const;
  await checkGraph({ graph, g, outputs, inputs, wrt: [x], mode, ...linear });
}

/** The weight that the gradient reads gives what the fused node gives. */
export async function checkUnpacked(c: Packed): Promise<void> {
  const graph = new Graph('unpacked');
  const g = createBuilder(inferNode, graph.inputs);
  const { values, inputs } = variables(graph, { x: c.x, bias: [N] }, 'static', normal, 'float32');
  const [x, bias] = values;
  if (x === undefined || bias === undefined) throw new Error('no input');
  const fused = node(c, g, x, bias);
  const { weight, shift, K, block, blocks } = unpackWeight(fused, g);
  const flat = (v: Value): Value => g.Reshape(v, g.ints([N, blocks * block]));
  const spread = shift && flat(g.Expand(g.Unsqueeze(shift, g.ints([2])), g.ints([N, blocks, block])));
  const whole = spread === undefined ? weight : g.Sub(weight, spread);
  const w = g.Slice(whole, g.ints([0]), g.ints([K]), g.ints([1]));
  const plain = g.Add(g.MatMul(x, g.Transpose(w, { perm: [1, 0] })), bias);
  const [y] = fused.outputs;
  if (y === undefined) throw new Error('no output');
  await expectSame(graph, [[y, plain]], 21, feedsOf([...inputs.keys()], [...inputs.values()]));
}

export interface Quantizer {
  /** Of 8-bit floats nothing saturates near. */
  readonly dtype: 'uint8' | 'int8' | 'float8e4m3fn';
  readonly zero: number | undefined;
  readonly axis?: number;
  /** Another scale for the way back. */
  readonly factor?: number;
  /** Where the numbers begin. */
  readonly from?: number;
}

export const quantizerCases: readonly Quantizer[] = [
  { dtype: 'uint8', zero: 100 },
  { dtype: 'int8', zero: -28 },
  { dtype: 'uint8', zero: undefined },
  { dtype: 'int8', zero: 3, axis: 1 },
  { dtype: 'uint8', zero: 100, factor: 2 },
  { dtype: 'uint8', zero: undefined, axis: 1, from: -60.17 },
  { dtype: 'float8e4m3fn', zero: undefined, factor: 2 },
];

/** Fine steps and numbers far from the ends: what is differentiated is the clipping. */
export async function checkQuantizer(
  { dtype, zero, axis, factor = 1, from = -60.05 }: Quantizer,
  mode: Mode,
): Promise<void> {
  const graph = new Graph('quantizer');
  const g = createBuilder(inferNode, graph.inputs);
  // Steps of 0.3 are off every end by at least a tenth of one.
  const { values, inputs } = variables(graph, { x: [2, 4, 50] }, mode, (_, i, n) => from + (120 * i) / n, 'float32');
  const [x] = values;
  if (x === undefined) throw new Error('no input');
  const scales = [0.1, 0.2, 0.3, 0.15];
  const per = axis === undefined ? [0.2] : scales;
  const dims = axis === undefined ? [] : [4];
  const [s, back] = [
    g.constant('float32', dims, per),
    g.constant(
      'float32',
      dims,
      per.map((v) => v * factor),
    ),
  ];
  const z =
    zero === undefined
      ? undefined
      : g.constant(
          dtype,
          dims,
          per.map(() => zero),
        );
  const attrs = { axis: axis ?? 1 };
  const type = dtype === 'float8e4m3fn' ? { output_dtype: 17 } : {};
  const y = g.DequantizeLinear(g.QuantizeLinear(x, s, z, { ...attrs, ...type }), factor === 1 ? s : back, z, attrs);
  const [low, high] = dtype === 'uint8' ? [0, 255] : dtype === 'int8' ? [-128, 127] : [-448, 448];
  const shape = axis === undefined ? [] : [4, 1];
  const bound = (to: number): Value =>
    g.constant(
      'float32',
      shape,
      per.map((v) => (to - (zero ?? 0)) * v),
    );
  const clipped = g.Mul(g.Min([g.Max([x, bound(low - 0.5)]), bound(high + 0.5)]), g.float(factor));
  await checkGraph({
    graph,
    g,
    outputs: [clipped],
    seeded: [y],
    inputs,
    wrt: [x],
    opset: 21,
    type: 'float32',
    mode,
    step: 1e-2,
    // A slope of float32 numbers near 60 over this step.
    tolerance: 1e-4,
    exact: true,
  });
}

interface Dynamic {
  readonly is: string;
  readonly ops: readonly string[];
  readonly shape: readonly number[];
  /** Normal numbers where it is left out. */
  readonly values?: Domain;
  /** What the integers stand for, and the same of the numbers. */
  readonly make: (g: Builder, q: Value, zero: Value, from: { x: Value; scale: Value }) => Value;
  /** `make` multiplies by the scale. */
  readonly scaled?: true;
  readonly plain: (g: Builder, x: Value) => Value;
}

const whole = (g: Builder, dtype: 'int8' | 'uint8', dims: readonly number[]): Value => {
  const next = random(dims.length);
  const low = dtype === 'int8' ? -100 : 20;
  const count = dims.reduce((a, b) => a * b, 1);
  return g.constant(
    dtype,
    dims,
    Array.from({ length: count }, () => low + Math.floor(200 * next())),
  );
};
const number = (g: Builder, v: Value): Value => g.Cast(v, { to: 1 });

const byColumn: readonly number[] = [0.5, 1, 2, 0.25];
const weightByColumn = (g: Builder): Value =>
  g.Mul(
    g.Sub(number(g, whole(g, 'uint8', [5, 4])), g.constant('float32', [4], [3, 100, 128, 255])),
    g.constant('float32', [4], byColumn),
  );

function contrib(g: Builder, op: string, inputs: readonly (Value | undefined)[]): Value {
  const [y] = g.node({ op, domain: 'com.microsoft', inputs, outputs: 1 });
  if (y === undefined) throw new Error('no result');
  return y;
}

export const dynamicCases: readonly Dynamic[] = [
  {
    is: 'read back',
    ops: ['DynamicQuantizeLinear'],
    shape: [2, 5],
    make: (g, q, zero) => g.Sub(number(g, q), number(g, zero)),
    plain: (g, x) => g.Identity(x),
  },
  {
    is: 'MatMulInteger, zero points by column',
    ops: ['MatMulInteger'],
    shape: [2, 3, 5],
    make: (g, q, zero) =>
      number(g, g.MatMulInteger(q, whole(g, 'uint8', [5, 4]), zero, g.constant('uint8', [4], [3, 100, 128, 255]))),
    plain: (g, x) =>
      g.MatMul(x, g.Sub(number(g, whole(g, 'uint8', [5, 4])), g.constant('float32', [4], [3, 100, 128, 255]))),
  },
  {
    is: 'MatMulInteger without a second zero point',
    ops: ['MatMulInteger'],
    shape: [2, 5],
    make: (g, q, zero) => number(g, g.MatMulInteger(q, whole(g, 'int8', [5, 4]), zero)),
    plain: (g, x) => g.MatMul(x, number(g, whole(g, 'int8', [5, 4]))),
  },
  {
    // From -128 to 127, so that the scale is 1 and the integers are the numbers.
    is: 'MatMulInteger of two that are quantized',
    ops: ['MatMulInteger'],
    shape: [4, 4],
    values: (_, i) => [-128, 127, 5, -30][((i % 4) + 2 * (i >> 2)) % 4] ?? 0,
    make: (g, q, zero) => number(g, g.MatMulInteger(q, q, zero, zero)),
    plain: (g, x) => g.MatMul(x, x),
  },
  {
    is: 'MatMulIntegerToFloat, scales and zero points by column, a bias',
    ops: ['com.microsoft.MatMulIntegerToFloat'],
    shape: [2, 3, 5],
    scaled: true,
    make: (g, q, zero, { scale }) =>
      contrib(g, 'MatMulIntegerToFloat', [
        q,
        whole(g, 'uint8', [5, 4]),
        scale,
        g.constant('float32', [4], byColumn),
        zero,
        g.constant('uint8', [4], [3, 100, 128, 255]),
        g.constant('float32', [4], [1, 2, 3, 4]),
      ]),
    plain: (g, x) => g.MatMul(x, weightByColumn(g)),
  },
  {
    is: 'DynamicQuantizeMatMul, scales and zero points by column',
    ops: ['com.microsoft.DynamicQuantizeMatMul'],
    shape: [2, 3, 5],
    scaled: true,
    make: (g, _q, _zero, { x }) =>
      contrib(g, 'DynamicQuantizeMatMul', [
        x,
        whole(g, 'uint8', [5, 4]),
        g.constant('float32', [4], byColumn),
        g.constant('uint8', [4], [3, 100, 128, 255]),
      ]),
    plain: (g, x) => g.MatMul(x, weightByColumn(g)),
  },
  {
    is: 'DynamicQuantizeMatMul, one scale in a vector, a bias',
    ops: ['com.microsoft.DynamicQuantizeMatMul'],
    shape: [2, 5],
    scaled: true,
    make: (g, _q, _zero, { x }) =>
      contrib(g, 'DynamicQuantizeMatMul', [
        x,
        whole(g, 'int8', [5, 4]),
        g.constant('float32', [1], [0.5]),
        undefined,
        g.constant('float32', [4], [1, 2, 3, 4]),
      ]),
    plain: (g, x) => g.MatMul(x, g.Mul(number(g, whole(g, 'int8', [5, 4])), g.float(0.5))),
  },
  {
    is: 'ConvInteger',
    ops: ['ConvInteger'],
    shape: [2, 2, 5, 4],
    make: (g, q, zero) =>
      number(
        g,
        g.ConvInteger(q, whole(g, 'uint8', [3, 2, 2, 2]), zero, g.constant('uint8', [], [9]), { strides: [2, 1] }),
      ),
    plain: (g, x) =>
      g.Conv(x, g.Sub(number(g, whole(g, 'uint8', [3, 2, 2, 2])), g.float(9)), undefined, { strides: [2, 1] }),
  },
];

/** Straight through: integers that a dynamic quantizer makes have the gradient of the numbers they stand for. */
export async function checkDynamic(
  { shape, values: domain = normal, make, scaled, plain }: Dynamic,
  mode: Mode,
): Promise<void> {
  const graph = new Graph('dynamic');
  const g = createBuilder(inferNode, graph.inputs);
  const { values, inputs } = variables(graph, { x: shape }, mode, domain, 'float32');
  const [x] = values;
  if (x === undefined) throw new Error('no input');
  const [q, scale, zero] = g.node({ op: 'DynamicQuantizeLinear', inputs: [x], outputs: 3 });
  if (q === undefined || scale === undefined || zero === undefined) throw new Error('no results');
  const size = g.float(0.01);
  const made = make(g, q, zero, { x, scale });
  await checkGraph({
    graph,
    g,
    outputs: [g.Mul(plain(g, x), size)],
    seeded: [g.Mul(scaled === true ? made : g.Mul(made, scale), size)],
    inputs,
    wrt: [x],
    opset: 21,
    type: 'float32',
    mode,
    // Linear, so that one step says it all, but for roundings of float32.
    step: 1,
    tolerance: 2e-5,
    exact: true,
  });
}
