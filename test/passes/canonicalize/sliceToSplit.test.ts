/** Slices that cut a value into its parts compute the same as one Split, in whatever order they stand. */
import { expect, it } from 'vitest';
import { cloneModel } from '../../../src/graph/clone.ts';
import { parseText } from '../../../src/parser/index.ts';
import { splitSlices } from '../../../src/passes/canonicalize/sliceToSplit.ts';
import { verify } from '../../../src/passes/common/verify.ts';
import { normalize } from '../../../src/passes/normalize/index.ts';
import { inferShapes } from '../../../src/passes/shapes/index.ts';
import { compute, expectSame } from '../../support/compute.ts';

const model = (nodes: string) => {
  const source = parseText(`<ir_version: 8, opset_import: ["" : 18]>
main (float[N,5] x) => (float[N,5] y)
<int64[1] zero = {0}, int64[1] two = {2}, int64[1] three = {3}, int64[1] back = {-3}, int64[1] end = {9223372036854775807}, int64[1] last = {-1},
 int64[1] one = {1}> {
  ${nodes}
}`);
  normalize(source);
  inferShapes(source.graph);
  return source;
};

const rest = 'y = Concat <axis = 1> (n, a)';
it.each([
  ['in order', 'a = Slice (x, zero, two, one)\n b = Slice (x, two, end, one)\n n = Neg (b)', 'Split Neg Concat'],
  // What reads the last part stands in front of the first.
  [
    'the other way round',
    'b = Slice (x, two, end, one)\n n = Neg (b)\n a = Slice (x, zero, two, one)',
    'Split Neg Concat',
  ],
  [
    'counted from the end',
    'a = Slice (x, zero, back, last)\n b = Slice (x, back, end, last)\n n = Neg (b)',
    'Split Neg Concat',
  ],
  [
    'with a gap',
    'a = Slice (x, zero, two, one)\n b = Slice (x, three, end, one)\n c = Slice (x, one, two, one)\n m = Concat <axis = 1> (b, c)\n n = Neg (m)',
    'Slice Slice Slice Concat Neg Concat',
  ],
])('%s', async (_, nodes, ops) => {
  const source = model(`${nodes}\n ${rest}`);
  const { model: made } = cloneModel(source);
  expect(splitSlices(made.graph)).toBe(ops.startsWith('Split'));
  verify(made);
  expect(made.graph.nodes.map((n) => n.op).join(' ')).toBe(ops);
  expectSame(await compute(made, { sizes: { N: 3 } }), await compute(source, { sizes: { N: 3 } }));
});
