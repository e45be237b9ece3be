/** GroupQueryAttention computes the same in the form of a training graph, compared with what ONNX Runtime can run. */
import { expect, it } from 'vitest';
import { createBuilder } from '../../../src/graph/builder.ts';
import type { Model } from '../../../src/graph/model.ts';
import { parseText } from '../../../src/parser/index.ts';
import { plainGroupedQueries } from '../../../src/passes/canonicalize/groupedQueries.ts';
import { verify } from '../../../src/passes/common/verify.ts';
import { inferNode, inferShapes } from '../../../src/passes/shapes/index.ts';
import { compute, expectSame } from '../../support/compute.ts';

const heads = 'num_heads = 4, kv_num_heads = 2';
const size = 8;
const weights = Array.from({ length: size }, (_, i) => 0.5 + i / 3).join();
const [queries, keys] = ['float[2,3,32] q', 'float[2,3,16] k, float[2,3,16] v'];
const packed = 'float[2,3,64] qkv';
const lengths = 'int32[2] ends = {2, 2}, int32 total = {3}';
const model = (inputs: string, nodes: string): Model => {
  const parsed = parseText(`<ir_version: 10, opset_import: ["" : 21, "com.microsoft" : 1]>
main (${inputs}) => (float[2,3,32] y)
<${lengths}, float[${size}] qn = {${weights}}, float[${size}] kn = {${weights}}, int64[3] parts = {32, 16, 16},
 int64[4] four = {2, 3, 4, 8}, int64[4] two = {2, 3, 2, 8}, int64[3] wide = {2, 3, 32}, int64[3] narrow = {2, 3, 16}>
{ ${nodes} }`);
  inferShapes(parsed.graph);
  return parsed;
};
const norm = (x: string, to: string, [apart, w, back]: readonly string[], epsilon: number): string =>
  `${to}4 = Reshape (${x}, ${apart})
   ${to}n = SimplifiedLayerNormalization <axis = -1, epsilon = ${epsilon}> (${to}4, ${w})
   ${to} = Reshape (${to}n, ${back})`;
const attend = (inputs: string, attrs = ''): string =>
  `y, key, value = com.microsoft.GroupQueryAttention <${heads}${attrs}> (${inputs})`;
const norms = ', , , , , , , qn, kn';
const ofQueries = ['four', 'qn', 'wide'];
const ofKeys = ['two', 'kn', 'narrow'];

it.each([
  ['packed', packed, attend('qkv, , , , , ends, total'), attend('qkv, , , , , ends, total')],
  [
    'normalized',
    `${queries}, ${keys}`,
    attend(`q, k, v, , , ends, total, ${norms}`, ', qk_norm_epsilon = 0.01'),
    `${norm('q', 'a', ofQueries, 0.01)} ${norm('k', 'b', ofKeys, 0.01)} ${attend('a, b, v, , , ends, total')}`,
  ],
  [
    'normalized with an epsilon each',
    `${queries}, ${keys}`,
    attend(`q, k, v, , , ends, total, ${norms}`, ', q_norm_epsilon = 0.1, k_norm_epsilon = 0.001'),
    `${norm('q', 'a', ofQueries, 0.1)} ${norm('k', 'b', ofKeys, 0.001)} ${attend('a, b, v, , , ends, total')}`,
  ],
  [
    'packed and normalized',
    packed,
    attend(`qkv, , , , , ends, total, ${norms}`),
    `q, k, v = Split <axis = -1> (qkv, parts) ${norm('q', 'a', ofQueries, 1e-6)} ${norm('k', 'b', ofKeys, 1e-6)}
     ${attend('a, b, v, , , ends, total')}`,
  ],
  [
    'a window that is not there',
    `${queries}, ${keys}`,
    attend('q, k, v, , , ends, total', ', local_window_size = 2, sliding_window_cache = 1'),
    attend('q, k, v, , , ends, total', ', local_window_size = 2'),
  ],
])('%s', async (_, inputs, special, plain) => {
  const made = model(inputs, special);
  plainGroupedQueries(made.graph, createBuilder(inferNode, made.graph.inputs));
  made.graph.adopt();
  made.graph.prune();
  verify(made);
  const node = made.graph.nodes.find((n) => n.op === 'GroupQueryAttention');
  expect(node?.inputs.length).toBe(7);
  expect([...(node?.attrs.keys() ?? [])].filter((name) => /epsilon|cache/.test(name))).toEqual([]);
  expectSame(await compute(made), await compute(model(inputs, plain)), 1e-6);
});

it.each([
  ['separate operands', `${queries}, ${keys}`, attend('q, k, v, , , ends, total')],
  ['a packed query of unknown width', 'float[2,3,W] qkv', attend('qkv, , , , , ends, total')],
  [
    'a window that is there',
    `${queries}, ${keys}, float[2,2,4,8] past`,
    attend('q, k, v, past, past, ends, total', ', local_window_size = 2, sliding_window_cache = 1'),
  ],
])('%s: unchanged', (_, inputs, nodes) => {
  const made = model(inputs, nodes);
  const before = [...made.graph.nodes];
  plainGroupedQueries(made.graph, createBuilder(inferNode, made.graph.inputs));
  made.graph.adopt();
  expect(made.graph.nodes).toEqual(before);
});
