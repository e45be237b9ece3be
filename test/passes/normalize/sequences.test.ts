import { expect, it } from 'vitest';
import { createBuilder } from '../../../src/graph/builder.ts';
import { cloneModel } from '../../../src/graph/clone.ts';
import { tensorType, Value } from '../../../src/graph/model.ts';
import { parseText } from '../../../src/parser/index.ts';
import { gradients } from '../../../src/passes/autodiff/index.ts';
import { normalize } from '../../../src/passes/normalize/index.ts';
import { inferNode } from '../../../src/passes/shapes/index.ts';
import { coded } from '../../support/coded.ts';
import { compute, expectSame } from '../../support/compute.ts';

/** Graph of opset 18, and the operators that are left of it. */
const cases: readonly (readonly [string, string])[] = [
  [
    '(float[5,3] x) => (float[3,5] y, int64 n) { s = SplitToSequence <keepdims = 0> (x) n = SequenceLength (s) y = ConcatFromSequence <axis = 1, new_axis = 1> (s) }',
    `Split ${'Squeeze '.repeat(5)}Identity ${'Unsqueeze '.repeat(5)}Concat`,
  ],
  [
    `(float[N,5] x) => (float[N,2] y) <int64[3] p = {1, 2, 2}, int64 i = {-2}> {
       s = SplitToSequence <axis = 1> (x, p)
       t = Identity (s)
       y = SequenceAt (t, i)
     }`,
    'Split',
  ],
  [
    // The last part is shorter.
    `(float[N,5] x) => (float[N,1] y) <int32 p = {2}, int64 i = {2}> {
       s = SplitToSequence <axis = -1> (x, p)
       y = SequenceAt (s, i)
     }`,
    'Split',
  ],
  [
    `(float[N] x) => (float[M] y) <int64 i = {0}> {
       a = Neg (x)
       s = SequenceConstruct (x, a)
       t = SequenceInsert (s, a, i)
       u = SequenceErase (t)
       y = ConcatFromSequence <axis = 0> (u)
     }`,
    'Neg Concat',
  ],
  [
    // A body reads a sequence from outside.
    `(float[N] x, bool c) => (float[N] y) <int64 i = {1}> {
       a = Neg (x)
       s = SequenceConstruct (x, a)
       y = If (c) <then_branch = t () => (float[N] p) { q = SequenceAt (s, i) p = Abs (q) }, else_branch = e () => (float[N] r) { r = Exp (x) }>
     }`,
    'Neg If Abs Exp',
  ],
  [
    `(float[N] x) => (float[N] y) {
       o = Optional (x)
       h = OptionalHasElement (o)
       y = If (h) <then_branch = t () => (float[N] p) { q = OptionalGetElement (o) p = Abs (q) }, else_branch = e () => (float[N] r) { r = Exp (x) }>
     }`,
    'Abs',
  ],
];

it.each(cases)('%s', async (text, left) => {
  const source = parseText(`<ir_version: 8, opset_import: ["" : 18]> main ${text}`);
  const { model } = cloneModel(source);
  normalize(model);
  expect([...model.graph.allNodes()].map((n) => n.op).join(' ')).toBe(left);
  expectSame(await compute(model, { sizes: { N: 3 } }), await compute(source, { sizes: { N: 3 } }));
});

it('a sequence that only the run knows is refused', () => {
  const model = parseText(`<ir_version: 8, opset_import: ["" : 18]>
    main (float[N,5] x, int64 i) => (float[1,5] y) { s = SplitToSequence (x) [pick] y = SequenceAt (s, i) }`);
  normalize(model);
  const { graph } = model;
  const [x, y] = [graph.inputs[0], graph.outputs[0]];
  if (x === undefined || y === undefined) throw new Error('no values');
  const dy = new Value('dy', tensorType('float32', [1, 5]));
  expect(() => gradients({ g: createBuilder(inferNode, graph.inputs), seeds: [[y, dy]], wrt: [x] })).toThrow(
    expect.toSatisfy(coded('NO_GRADIENT', 'SequenceAt', 'known before the model runs')),
  );
});
