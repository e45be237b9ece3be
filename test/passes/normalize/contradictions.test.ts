import { expect, it } from 'vitest';
import { parseText } from '../../../src/parser/parseText.ts';
import { normalize } from '../../../src/passes/normalize/index.ts';
import { coded } from '../../support/coded.ts';

const model = (inputs: string, node: string): (() => void) => {
  const parsed = parseText(`<ir_version: 8, opset_import: ["" : 18]> g (${inputs}) => (y) { ${node} }`);
  return () => normalize(parsed);
};

it.each([
  ['float[N, 4] a, float[8, 3] b', 'y = MatMul (a, b)', 'MatMul "y" has operands whose inner dims differ'],
  ['float[2, N, 4] a, float[3, 4, 3] b', 'y = MatMul (a, b)', 'batch dims do not broadcast'],
  ['float[N, 4] a, float[8, 3] b', 'y = Gemm (a, b)', 'inner dims differ: [N, 4] and [8, 3]'],
  ['float[N, 4] a, float[3, 4] b, float[5] c', 'y = Gemm <transB = 1> (a, b, c)', 'do not broadcast: [N, 3] and [5]'],
  ['float[2, N, 4] a, float[4, 3] b', 'y = Gemm (a, b)', 'are not matrices'],
  ['float[N, 4] a, float[3] b', 'y = Add (a, b)', 'Add "y" has operands that do not broadcast: [N, 4] and [3]'],
  [
    'float[N, 4] a, double[4] b',
    'y = Mul (a, b)',
    'operands of different types: "a" of type float32 and "b" of type float64',
  ],
  ['float[N, 4] a, int64[4, 2] b', 'y = MatMul (a, b)', '"a" of type float32 and "b" of type int64'],
  ['float[N, 4] a, string[4, 2] b', 'y = MatMul (a, b)', 'MatMul "y" does not take "b" of type string'],
  ['int8[N, 4] a, int8[4, 2] b', 'y = MatMul (a, b)', 'MatMul "y" does not take "a" of type int8'],
  ['int64[N, 4] a, float b', 'y = Sigmoid (a)', 'Sigmoid "y" does not take "a" of type int64'],
  ['float[N, 4] a, float[N] b', 'y = Gather (a, b)', '"b" of type float32 in this place, but int32 or int64'],
  ['float[N, 4] a, double[4] b', 'y = LayerNormalization (a, b)', '"a" of type float32 and "b" of type float64'],
  ['float[N, 4] a, float b', 'y = Where (a, b, b)', 'in this place, but bool'],
  ['float[N, 4, 8] a, float[3, 5, 2] b', 'y = Conv (a, b)', 'for other channels'],
  ['float[N, 4] a, float[N, 4, 1] b', 'y = Concat <axis = 1> (a, b)', 'joins [N, 4] and [N, 4, 1]'],
])('%s, %s is refused', (inputs, node, reason) => {
  expect(model(inputs, node)).toThrow(expect.toSatisfy(coded('BAD_MODEL', reason)));
});

it.each([
  ['float[N, 4] a, float[M, 3] b', 'y = MatMul (a, b)'],
  ['float[N, 4] a, float[N, 1] b', 'y = Add (a, b)'],
  ['float[N, 4] a, double[4] b', 'y = Pow (a, b)'],
  ['int64[N, 4] a, int64[4, 2] b', 'y = MatMul (a, b)'],
  ['bool[N, 4] c, float[N, 4] a, float b', 'y = Where (c, a, b)'],
  ['float[N, 4, 8] a, float[6, 2, 3] b', 'y = Conv <group = 2> (a, b)'],
  ['float[N, 4] a, float[N, 3] b', 'y = Concat <axis = -1> (a, b)'],
])('%s, %s is taken', (inputs, node) => {
  expect(model(inputs, node)).not.toThrow();
});
