/** Checks beside the tables, for the tests and for the mutation run: internal nodes, and what the bodies compute. */

import { createBuilder } from '../../src/graph/builder.ts';
import { Graph } from '../../src/graph/model.ts';
import { decomposition } from '../../src/passes/autodiff/rules.ts';
import { inferNode } from '../../src/passes/shapes/index.ts';
import {
  adaptedCases,
  checkAdapted,
  checkDropout,
  checkDropped,
  checkJoined,
  dropoutCases,
} from '../support/gradients/adaptedNodes.ts';
import { bodyOf, type Extra, expectSame } from '../support/gradients/decompositions.ts';
import {
  type Arg,
  argumentsOf,
  bool,
  type Case,
  dataOf,
  f,
  feedsOf,
  fixed,
  modes,
  nodeOf,
  title,
} from '../support/gradients/harness.ts';
import {
  bnb4Cases,
  checkBnb4,
  checkDynamic,
  checkPacked,
  checkQuantizer,
  checkUnpacked,
  dynamicCases,
  packedCases,
  packedTitle,
  quantizerCases,
} from '../support/gradients/quantized.ts';
import type { Exceptions } from '../support/gradients/tables.ts';
import { allRows } from './all.rows.ts';
import { carried } from './customGradient.rows.ts';
import { unexecuted } from './unexecuted.rows.ts';

// ---------------------------------------------------------------- internal nodes

const adapted = adaptedCases.map(
  (c): Extra => ({
    is: `loraify.Adapted x [${c.x}], transW ${c.transW}, C ${c.c === undefined ? '-' : `[${c.c}]`}`,
    ops: ['loraify.Adapted'],
    run: async () => {
      for (const mode of modes) await checkAdapted(c, mode);
    },
  }),
);

const joined = [0, 1].map(
  (transW): Extra => ({
    is: `loraify.Joined, transW ${transW}`,
    ops: ['loraify.Joined'],
    run: async () => {
      for (const mode of modes) await checkJoined(transW, mode);
    },
  }),
);

const dropped = [0, 1].flatMap((transW) =>
  [true, false].map(
    (base): Extra => ({
      is: `loraify.Adapted with dropout, transW ${transW}, ${base ? 'whole' : 'behind its base'}`,
      ops: ['loraify.Adapted'],
      run: async () => {
        for (const mode of modes) await checkDropped(transW, base, mode);
      },
    }),
  ),
);

const dropout = dropoutCases.map(
  (c): Extra => ({
    is: `loraify.Dropout of [${c.x}], axis ${c.axis}, lengths of ${c.of === undefined ? 'its own' : `[${c.of}]`}`,
    ops: ['loraify.Dropout'],
    run: async () => {
      // Rows and columns are counted by an axis: the rank is known.
      for (const mode of modes) if (mode !== 'unranked') await checkDropout(c, mode);
    },
  }),
);

// ---------------------------------------------------------------- quantized operators

const packed = packedCases.flatMap((c): Extra[] => [
  {
    is: packedTitle(c),
    ops: ['com.microsoft.MatMulNBits'],
    run: async () => {
      for (const mode of modes) await checkPacked(c, mode);
    },
  },
  { is: `weight of ${packedTitle(c)}`, ops: [], forward: true, run: () => checkUnpacked(c) },
]);

const bnb4 = bnb4Cases.map(
  (c): Extra => ({
    is: `MatMulBnb4 of type ${c.type}, K ${c.K} in blocks of ${c.block}, x [${c.x}]`,
    ops: ['com.microsoft.MatMulBnb4'],
    run: async () => {
      for (const mode of modes) await checkBnb4(c, mode);
    },
  }),
);

const quantizers = quantizerCases.map(
  (c): Extra => ({
    is: `a quantizer to ${c.dtype}, zero point ${c.zero ?? '-'}, ${c.axis === undefined ? 'per tensor' : 'per axis'}`,
    ops: ['QuantizeLinear'],
    run: async () => {
      for (const mode of modes) await checkQuantizer(c, mode);
    },
  }),
);

const dynamic = dynamicCases.map(
  (c): Extra => ({
    is: `a dynamic quantizer, ${c.is}`,
    ops: ['DynamicQuantizeLinear', ...c.ops],
    run: async () => {
      for (const mode of modes) await checkDynamic(c, mode);
    },
  }),
);

// ---------------------------------------------------------------- bodies

const hasBody = (row: Case): boolean =>
  row.refused === undefined && decomposition(nodeOf(row, [], createBuilder())) !== undefined;

const bodies = allRows.filter(hasBody).map(
  (row): Extra => ({
    is: `body of ${title(row)}`,
    ops: [row.op],
    forward: true,
    run: async () => {
      const graph = new Graph('body');
      const g = createBuilder(inferNode, graph.inputs);
      const data = dataOf(row);
      const args = argumentsOf(row, data, 'static', graph, g);
      const node = nodeOf(row, args, g);
      const made = bodyOf(node, g);
      const pairs = (row.loss ?? [0]).map((i) => {
        const [own, other] = [node.outputs[i], made[i]];
        if (own === undefined || other === undefined) throw new Error(`no result ${i}`);
        return [own, g.Identity(other)] as const;
      });
      await expectSame(graph, pairs, row.opset ?? 18, feedsOf(args, data));
    },
  }),
);

const [q, key, value] = [f([2, 4, 3, 5]), f([2, 4, 6, 5]), f([2, 4, 6, 7])];
const [pastKey, pastValue] = [f([2, 4, 2, 5]), f([2, 4, 2, 7])];
/** A mask [3 queries, keys] as bool. */
const where = (keys: number, sees: (i: number, j: number) => boolean): Arg =>
  bool(
    Array.from({ length: 3 * keys }, (_, at) => (sees(Math.floor(at / keys), at % keys) ? 1 : 0)),
    [3, keys],
  );

interface Same {
  readonly is: string;
  /** What ONNX Runtime 1.30 has no kernel for, and the same with a full mask. */
  readonly inputs: Case['in'];
  readonly attrs: object;
  readonly mask: Arg;
}

const zeros = new Array<number>(24).fill(0);
const rest = [pastKey, pastValue] as const;
const likeMasks: readonly Same[] = [
  {
    is: 'both windows',
    inputs: [q, key, value],
    attrs: { left_window_size: 1, right_window_size: 2 },
    mask: where(6, (i, j) => i - 1 <= j && j <= i + 2),
  },
  {
    is: 'a left window behind a past',
    inputs: [q, key, value, fixed([3, 8], zeros), ...rest],
    attrs: { left_window_size: 2 },
    mask: where(8, (i, j) => i + 2 - 2 <= j),
  },
  {
    is: 'a right window before the causal frontier',
    inputs: [q, key, value, fixed([3, 8], zeros), ...rest],
    attrs: { right_window_size: 0 },
    mask: where(8, (i, j) => j <= i + 2),
  },
  {
    is: 'a bool mask with fewer keys',
    inputs: [q, key, value, where(4, (i, j) => i !== j)],
    attrs: {},
    mask: where(6, (i, j) => i !== j && j < 4),
  },
  {
    is: 'a float mask with fewer keys',
    inputs: [
      q,
      key,
      value,
      fixed(
        [3, 4],
        Array.from({ length: 12 }, (_, at) => (at % 5 === 0 ? -Infinity : 0)),
      ),
    ],
    attrs: {},
    mask: where(6, (i, j) => (i * 4 + j) % 5 !== 0 && j < 4),
  },
];

const attention = likeMasks.map(
  ({ is, inputs, attrs, mask }): Extra => ({
    is: `body of Attention, ${is}`,
    ops: ['Attention'],
    forward: true,
    run: async () => {
      const row: Case = { op: 'Attention', in: [...inputs, mask], attrs, opset: 24, dtype: 'float32' };
      const graph = new Graph('attention');
      const g = createBuilder(inferNode, graph.inputs);
      const data = dataOf(row);
      const all = argumentsOf(row, data, 'static', graph, g);
      const [args, full] = [all.slice(0, -1), all.at(-1)];
      const outputs = args[4] === undefined ? 1 : 3;
      const own = nodeOf({ op: 'Attention', in: [], outputs }, [...args.slice(0, 3), full, ...args.slice(4)], g);
      const [made] = bodyOf(nodeOf({ op: 'Attention', in: [], attrs }, args, g), g);
      const [y] = own.outputs;
      if (y === undefined || made === undefined) throw new Error('no result');
      await expectSame(graph, [[y, made]], 24, feedsOf(all, data));
    },
  }),
);

export const extras: readonly Extra[] = [
  ...adapted,
  ...joined,
  ...dropped,
  ...dropout,
  ...carried,
  ...packed,
  ...bnb4,
  ...quantizers,
  ...dynamic,
  ...bodies,
  ...attention,
  ...unexecuted,
];

const straight = {
  empty: 'straight through the rounding: no difference of results shows its gradient',
  random: 'its gradient is straight through the rounding, which no difference shows',
} as const;

/** What the tests would make for every operator, and cannot for these. */
export const exceptions: Exceptions = {
  'loraify.Joined': { random: 'made by the compile for CUDA out of MatMuls that read one value' },
  'loraify.Adapted': { random: 'made by the compile out of MatMul and Gemm with weights, which are drawn' },
  'loraify.Dropout': {
    random: 'a random mask; test/compile/dropout.test.ts holds its gradient for all forms of a branch',
  },
  'com.microsoft.MatMulNBits': { empty: 'quantized.ts has one' },
  QuantizeLinear: {
    empty: straight.empty,
    random: 'its gradient is that of the clipping alone, which no difference shows',
  },
  DynamicQuantizeLinear: straight,
  MatMulInteger: straight,
  'com.microsoft.DynamicQuantizeMatMul': straight,
  'com.microsoft.MatMulIntegerToFloat': straight,
  'com.microsoft.MatMulBnb4': {
    empty: 'its kernel divides by the number of rows',
    random: 'packed like MatMulNBits, which is drawn',
  },
  ConvInteger: straight,
};
