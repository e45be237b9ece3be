import { describe, expect, it } from 'vitest';
import { createBuilder } from '../../src/graph/builder.ts';
import { Graph, type Value } from '../../src/graph/model.ts';
import { decomposition } from '../../src/passes/autodiff/rules.ts';
import { gradTools } from '../../src/passes/autodiff/tools.ts';
import { inferNode } from '../../src/passes/shapes.ts';
import { rows } from './attention.rows.ts';
import {
  type Arg,
  argumentsOf,
  bool,
  type Case,
  dataOf,
  f,
  feedsOf,
  fixed,
  modelOf,
  numbers,
  session,
} from './harness.ts';
import { gradientTable } from './table.ts';

gradientTable('attention', rows);

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
const same: readonly Same[] = [
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

describe('the body of Attention beyond the kernel', () => {
  it.each(same)('$is', async ({ inputs, attrs, mask }) => {
    const row: Case = { op: 'Attention', in: [...inputs, mask], attrs, opset: 24, dtype: 'float32' };
    const graph = new Graph('attention');
    const g = createBuilder(inferNode, graph.inputs);
    const data = dataOf(row);
    const all = argumentsOf(row, data, 'static', graph, g);
    const [args, full] = [all.slice(0, -1), all.at(-1)];
    const outputs = args[4] === undefined ? 1 : 3;
    const [y] = g.node({ op: 'Attention', inputs: [...args.slice(0, 3), full, ...args.slice(4)], outputs });
    const [stand] = g.node({ op: 'Attention', inputs: args, attrs, outputs: 1 });
    const node = stand?.producer;
    const body = node === undefined ? undefined : decomposition(node);
    if (y === undefined || stand === undefined || node === undefined || body === undefined) throw new Error('no body');
    const tools = Object.assign({}, g, gradTools(g, refuse));
    const [made] = body.apply({
      node,
      inputs: args,
      outputs: [stand],
      attrs: node.attrs,
      dy: stand,
      dys: [],
      g: tools,
    });
    if (made === undefined) throw new Error('no result');
    graph.outputs.push(y, made);
    graph.adopt();
    const got = await (await session(modelOf(graph, 24))).run(feedsOf(all, data));
    const [a, b] = [got[y.name], got[made.name]];
    if (a === undefined || b === undefined) throw new Error('no result');
    const expected = numbers(a);
    // Both are rounded to float32.
    numbers(b).forEach((v, i) => {
      expect(Math.abs(v - (expected[i] ?? Number.NaN))).toBeLessThan(2e-6);
    });
  });
});

function refuse(v: Value): never {
  throw new Error(`rank of ${v.name}`);
}
