import { describe, expect, it } from 'vitest';
import { createBuilder } from '../../../src/graph/builder.ts';
import { type Dim, tensorType, Value } from '../../../src/graph/model.ts';
import { inferNode } from '../../../src/passes/shapes.ts';

const g = createBuilder(inferNode);
const x = (...dims: Dim[]): Value => new Value('x', tensorType('float32', dims));

describe('shape rules', () => {
  it('follows shape arithmetic through a split of heads', () => {
    const h = x('N', 'S', 768);
    const [n, s] = [g.Gather(g.Shape(h), g.int(0)), g.Gather(g.Shape(h), g.int(1))];
    const target = g.Concat([g.Unsqueeze(n, g.ints([0])), g.Unsqueeze(s, g.ints([0])), g.ints([12, -1])], { axis: 0 });
    const heads = g.Transpose(g.Reshape(h, target), { perm: [0, 2, 1, 3] });
    expect(heads.shape).toEqual(['N', 12, 'S', 64]);
    expect(g.MatMul(heads, g.Transpose(heads, { perm: [0, 1, 3, 2] })).shape).toEqual(['N', 12, 'S', 'S']);
    expect(g.Reshape(h, g.ints([-1, 768])).shape).toEqual(['N*S', 768]);
    expect(g.ReduceSum(h, g.ints([-1]), { keepdims: 0 }).shape).toEqual(['N', 'S']);
  });
});
