import { describe, expect, it } from 'vitest';
import { cloneModel } from '../../../../src/graph/clone.ts';
import { parseText } from '../../../../src/parser/index.ts';
import { normalize } from '../../../../src/passes/normalize/index.ts';
import { compute, expectSame } from '../../../support/compute.ts';

/** Initializers and nodes that make `y` out of constants; the type of y. */
const folded: readonly (readonly [string, string, string])[] = [
  ['int64[2,3]', 'int64[3] a = {1, -2, 3}, int64[2,1] b = {10, 20}', 'y = Mul (a, b)'],
  ['int32[3]', 'int32[3] a = {7, -7, 8}, int32 b = {2}', 'y = Div (a, b)'],
  ['int64[4]', 'int64[4] a = {7, -7, 8, -8}, int64[4] b = {3, 3, -3, -3}', 'y = Mod (a, b)'],
  ['float[2]', 'float[2] a = {0.1, 3}, float[2] b = {0.2, 7}', 'c = Div (a, b) y = Sqrt (c)'],
  ['float[3]', 'float[3] a = {0.1, 3, 2.5}, float two = {2}', 'y = Pow (a, two)'],
  ['bool[3]', 'int64[3] a = {1, 2, 3}, int64 b = {2}', 'c = Less (a, b) d = Equal (a, b) e = Or (c, d) y = Not (e)'],
  ['int64[2,2]', 'bool[2,1] c = {1, 0}, int64[2] a = {1, 2}, int64 b = {9}', 'y = Where (c, a, b)'],
  ['int64[2,1]', 'int64[2,3] a = {1, 2, 3, 4, 5, 6}, int64[1] x = {-1}', 'y = ReduceProd (a, x)'],
  ['int64[3]', 'int64[2,3] a = {1, 2, 3, 4, 5, 6}, int64[1] x = {0}', 'y = ReduceSum <keepdims = 0> (a, x)'],
  ['int64[1,1]', 'int64[2,3] a = {1, 2, 3, 4, -5, 6}', 'y = ReduceMin (a)'],
  ['int32', 'int32[2,3] a = {1, 2, 3, 4, -5, 6}', 'y = ReduceMax <keepdims = 0> (a)'],
  ['int64[2,3]', 'int64[2,3] a = {1, 2, 3, 4, -5, 6}', 'y = ReduceMax <noop_with_empty_axes = 1> (a)'],
  ['int64[4]', 'int64 a = {10}, int64 b = {2}, int64 c = {-2}', 'y = Range (a, b, c)'],
  ['int64[0]', 'int64 a = {3}, int64 b = {3}, int64 c = {1}', 'y = Range (a, b, c)'],
  ['int64[2,2,2]', 'int64[2,3] a = {1, 2, 3, 4, 5, 6}, int64[2,2] i = {0, -1, 2, 1}', 'y = Gather <axis = 1> (a, i)'],
  [
    'int64[2,2]',
    'int64[3,4] a = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, int64[2] s = {-1, 3}, int64[2] e = {-100, 0}, int64[2] x = {0, -1}, int64[2] t = {-2, -2}',
    'y = Slice (a, s, e, x, t)',
  ],
  [
    'int64[3]',
    'int64[4] a = {1, 2, 3, 4}, int64[1] s = {1}, int64[1] e = {9223372036854775807}',
    'y = Slice (a, s, e)',
  ],
  ['int64[1,2,1]', 'int64[2] a = {3, 4}, int64[2] x = {0, -1}', 'y = Unsqueeze (a, x)'],
  ['int64[2]', 'int64[1,2,1] a = {3, 4}', 'y = Squeeze (a)'],
  ['int64[3,2]', 'int64[2,3] a = {1, 2, 3, 4, 5, 6}', 'y = Transpose (a)'],
  ['int64[3,2]', 'int64[2,3] a = {1, 2, 3, 4, 5, 6}, int64[2] s = {-1, 2}', 'y = Reshape (a, s)'],
  ['int64[2,3]', 'int64[2,3] a = {1, 2, 3, 4, 5, 6}, int64[2] s = {0, -1}', 'y = Reshape (a, s)'],
  ['int64[2,5]', 'int64[2,3] a = {1, 2, 3, 4, 5, 6}, int64[2,2] b = {7, 8, 9, 0}', 'y = Concat <axis = -1> (a, b)'],
  ['int64[2,4]', 'int64[1,2] a = {1, 2}, int64[2] r = {2, 2}', 'y = Tile (a, r)'],
  [
    'int64[2,3]',
    'int64[2,1] a = {1, 2}, int64[3] s = {1, 1, 3}, int64[1] x = {0}',
    'c = Expand (a, s) y = Squeeze (c, x)',
  ],
  ['int64[2,2]', 'int64[2] s = {2, 2}', 'y = ConstantOfShape <value = int64[1] {7}> (s)'],
  ['int64[2,3]', 'bool[2,2] a = {1, 0, 1, 1}', 'y = NonZero (a)'],
  ['int64[2]', 'float[2] a = {2.7, -2.7}', 'y = Cast <to = 7> (a)'],
  ['bool[3]', 'float[3] a = {0.5, 0, -1}', 'y = Cast <to = 9> (a)'],
  ['float[2]', 'int64[2] a = {16777217, 3}', 'y = Cast <to = 1> (a)'],
  [
    'int64[1]',
    'int64[1] a = {9223372036854775807}, int64[1,1] b = {9223372036854775807}, int64[1] x = {0}',
    'c = Squeeze (b, x) d = Concat <axis = 0> (a, c) i = Constant <value_ints = [1]> () y = Gather (d, i)',
  ],
];

const kept: readonly (readonly [string, string, string])[] = [
  ['int64[2]', 'int64[2] a = {1, 2}, int64[2] b = {0, 1}', 'y = Div (a, b)'],
  ['int32[1]', 'int32[1] a = {2147483647}, int32[1] b = {1}', 'y = Add (a, b)'],
  ['int64[1]', 'int64[1] a = {9223372036854775807}, int64[1] b = {-1}', 'y = Add (a, b)'],
  ['float[2000]', 'int64[1] s = {2000}', 'y = ConstantOfShape (s)'],
  ['int64[2000]', 'int64 a = {0}, int64 b = {2000}, int64 c = {1}', 'y = Range (a, b, c)'],
  ['int64[2]', 'int64[3] a = {1, 2, 3}, int64[2] i = {1, 3}', 'y = Gather (a, i)'],
  ['float[1]', 'float[1] a = {3}, float[1] b = {0.3}', 'y = Pow (a, b)'],
];

const model = (type: string, init: string, nodes: string): ReturnType<typeof parseText> =>
  parseText(`<ir_version: 8, opset_import: ["" : 18]> main () => (${type} y) <${init}> { ${nodes} }`);

describe('fold', () => {
  for (const row of folded)
    it(`computes ${row[2]} as ONNX Runtime does`, async () => {
      const source = model(...row);
      const { model: copy } = cloneModel(source);
      normalize(copy);
      expect(copy.graph.nodes.map((n) => n.op)).toEqual(['Identity']);
      expectSame(await compute(copy), await compute(source));
    });

  for (const row of kept)
    it(`leaves ${row[2]} of ${row[1]} to the runtime`, () => {
      const source = model(...row);
      const ops = source.graph.nodes.map((n) => n.op);
      normalize(source);
      expect(source.graph.nodes.map((n) => n.op)).toEqual(ops);
    });
});
