/** Operators, and forms of them, that ONNX Runtime has no kernel for on the CPU: checked on something that computes the same. */

import { type Builder, createBuilder } from '../../src/graph/builder.ts';
import { Graph, Value } from '../../src/graph/model.ts';
import { inferNode } from '../../src/passes/shapes/index.ts';
import { bodyOf, type Extra, expectSame } from '../support/gradients/decompositions.ts';
import {
  type Arg,
  argumentsOf,
  type Case,
  checkGraph,
  dataOf,
  distinct,
  f,
  feedsOf,
  fixed,
  k,
  type Mode,
  modes,
  nodeOf,
  title,
} from '../support/gradients/harness.ts';
import type { Exceptions } from '../support/gradients/tables.ts';

interface Unexecuted extends Case {
  /** The same results by other operators. */
  readonly plain: (g: Builder, inputs: readonly Value[]) => Value | readonly Value[];
}

const missing = new Value('missing');
const contributed = (g: Builder, op: string, inputs: readonly (Value | undefined)[], attrs: object): Value => {
  const [y] = g.node({ op, domain: 'com.microsoft', inputs, attrs, outputs: 1 });
  if (y === undefined) throw new Error(`no ${op}`);
  return y;
};

/** One of the tensors that lie side by side in [batch, sequence, heads, count, size]. */
const picked = (g: Builder, packed: Value, i: number): Value =>
  g.Reshape(g.Gather(packed, g.int(i), { axis: 3 }), g.ints([0, 0, -1]));

/** e^(x + bias) over its sum along these axes. */
const shares = (g: Builder, x: Value, bias: Value, axes: readonly number[]): Value => {
  const e = g.Exp(g.Add(x, bias));
  return g.Div(e, g.ReduceSum(e, g.ints(axes), { keepdims: 1 }));
};

/** swiglu of interleaved gates and linear parts, which the kernel has, from weights and biases with one after the other. */
const interleaved = (
  g: Builder,
  [x, logits, w, b, ...rest]: readonly (Value | undefined)[],
  attrs: object = {},
): Value => {
  const rows = g.ints([0, 4, 1, 5, 2, 6, 3, 7]);
  const by = (v: Value | undefined): Value | undefined => v && g.Gather(v, rows, { axis: 1 });
  const form = { activation_type: 'swiglu', swiglu_fusion: 1, ...routing, ...attrs };
  return contributed(g, 'MoE', [x, logits, by(w), by(b), ...rest], form);
};
const routing = { k: 2, normalize_routing_weights: 1 };
const half = (shape: readonly number[]): Arg => fixed(shape, (next) => next() - 0.5);
const tokens = [f([2, 3, 8]), f([6, 3], distinct)] as const;
const down = [half([3, 8, 4]), half([3, 8])] as const;

const two = { num_heads: 2 };
const attention = { op: 'com.microsoft.MultiHeadAttention', attrs: two } as const;
const forms: readonly Unexecuted[] = [
  {
    // The kernel of 1.30 misreads complex signals.
    op: 'STFT',
    opset: 20,
    is: 'complex',
    attrs: { onesided: 0 },
    in: [f([2, 9, 2]), k([4], []), f([5])],
    plain: (g, [signal = missing, , window = missing]) => {
      const frame = (from: number): Value =>
        g.Mul(g.Slice(signal, g.ints([from]), g.ints([from + 5]), g.ints([1])), g.Reshape(window, g.ints([5, 1])));
      const spectra = [0, 4].map((from) => g.DFT(g.Unsqueeze(frame(from), g.ints([1])), undefined, g.int(2)));
      return g.Concat(spectra, { axis: 1 });
    },
  },
  {
    ...attention,
    is: 'packed query, key and value',
    in: [f([2, 3, 2, 3, 4])],
    plain: (g, [x = missing]) =>
      contributed(g, 'MultiHeadAttention', [picked(g, x, 0), picked(g, x, 1), picked(g, x, 2)], two),
  },
  {
    ...attention,
    is: 'packed query, key and value with a bias',
    in: [f([2, 3, 2, 3, 4]), undefined, undefined, f([24])],
    plain: (g, [x = missing, bias]) =>
      contributed(g, 'MultiHeadAttention', [picked(g, x, 0), picked(g, x, 1), picked(g, x, 2), bias], two),
  },
  {
    ...attention,
    is: 'packed key and value',
    in: [f([2, 3, 8]), f([2, 5, 2, 2, 4])],
    plain: (g, [q, x = missing]) => contributed(g, 'MultiHeadAttention', [q, picked(g, x, 0), picked(g, x, 1)], two),
  },
  {
    // The kernel reads a bias that is not there, and the process ends.
    op: 'com.microsoft.Attention',
    attrs: two,
    is: 'no bias',
    in: [f([2, 3, 6]), f([6, 24])],
    plain: (g, [x, w]) =>
      contributed(g, 'Attention', [x, w, g.constant('float32', [24], new Array<number>(24).fill(0))], two),
  },
  {
    op: 'com.microsoft.BiasSoftmax',
    attrs: { axis: 3, is_inner_broadcast: 1 },
    in: [f([2, 2, 3, 4]), f([2, 1, 1, 4])],
    plain: (g, [x = missing, bias = missing]) => shares(g, x, bias, [3]),
  },
  {
    op: 'com.microsoft.BiasSoftmax',
    attrs: { axis: 2, is_inner_broadcast: 0 },
    in: [f([2, 2, 3, 4]), f([1, 2, 3, 4])],
    plain: (g, [x = missing, bias = missing]) => shares(g, x, bias, [2, 3]),
  },
  {
    op: 'com.microsoft.MoE',
    attrs: { ...routing, activation_type: 'swiglu', swiglu_fusion: 2, activation_alpha: 1.7, activation_beta: 1 },
    is: 'gates before linear parts',
    in: [...tokens, half([3, 8, 8]), half([3, 8]), ...down],
    plain: (g, inputs) => interleaved(g, inputs, { activation_alpha: 1.7, activation_beta: 1 }),
  },
  ...['swiglu', 'silu'].map(
    (activation_type): Unexecuted => ({
      op: 'com.microsoft.MoE',
      attrs: { ...routing, activation_type },
      is: 'a third projection',
      in: [...tokens, half([3, 4, 8]), half([3, 4]), ...down, half([3, 4, 8]), half([3, 4])],
      plain: (g, [x, logits, w1 = missing, b1 = missing, w2, b2, w3 = missing, b3 = missing]) =>
        interleaved(g, [x, logits, g.Concat([w1, w3], { axis: 1 }), g.Concat([b1, b3], { axis: 1 }), w2, b2]),
    }),
  ),
  {
    // The kernel leaves out what the standard adds to the deviation, which only one this small shows.
    op: 'MeanVarianceNormalization',
    attrs: { axes: [1] },
    is: 'deviations next to 1e-9',
    in: [f([2, 3, 4], (...at) => 1e-8 * distinct(...at))],
    step: 2e-10,
    plain: (g, [x = missing]) => {
      const centred = g.Sub(x, g.ReduceMean(x, g.ints([1]), { keepdims: 1 }));
      const length = g.ReduceL2(centred, g.ints([1]), { keepdims: 1 });
      return g.Div(centred, g.Add(g.Mul(length, g.float(Math.sqrt(1 / 3))), g.float(1e-9)));
    },
  },
];

async function run(c: Unexecuted, mode: Mode): Promise<void> {
  const { opset = 18 } = c;
  const graph = new Graph('unexecuted');
  const g = createBuilder(inferNode, graph.inputs);
  const data = dataOf({ ...c, dtype: 'float32' });
  const args = argumentsOf({ ...c, dtype: 'float32' }, data, mode, graph, g);
  const given = args.filter((v) => v !== undefined);
  const node = nodeOf(c, args, g);
  const outputs = [c.plain(g, given)].flat();
  const made = mode === 'unranked' ? [] : bodyOf(node, g);
  const pairs = outputs.flatMap((y, i) => (made[i] === undefined ? [] : [[y, g.Identity(made[i])] as const]));
  if (pairs.length > 0) await expectSame(graph, pairs, opset, feedsOf(args, data));
  graph.outputs.length = 0;
  const inputs = new Map(
    args.flatMap((v, i) => (v === undefined || data[i] === undefined ? [] : [[v, data[i]] as const])),
  );
  const check = {
    graph,
    g,
    outputs,
    seeded: node.outputs,
    inputs,
    wrt: given.filter((v) => v.tensor === undefined),
    mode,
    opset,
  } as const;
  // As in the tables: float32 kernels, two steps whose curvature cancels.
  await checkGraph({ ...check, type: 'float32', step: c.step ?? 2e-2, tolerance: 1e-4, exact: false });
}

export const unexecuted: readonly Extra[] = forms.map((c) => ({
  is: `${title(c)}`,
  ops: [c.op],
  run: async () => {
    for (const mode of modes) await run(c, mode);
  },
}));

/** What the tests would make for every operator, and cannot for these. */
export const exceptions: Exceptions = {
  'com.microsoft.BiasSoftmax': { empty: 'has no kernel on the CPU', random: 'has no kernel on the CPU' },
};
