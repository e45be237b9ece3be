import { describe, expect, it } from 'vitest';
import { createBuilder } from '../../src/graph/builder.ts';
import { tensorType, Value } from '../../src/graph/model.ts';
import { gradients } from '../../src/passes/autodiff/index.ts';
import { decomposeRaw } from '../../src/passes/autodiff/rules.ts';
import { inferNode } from '../../src/passes/shapes/index.ts';
import { coded } from '../support/coded.ts';
import { checkControl, loop, scan } from '../support/gradients/controlFlow.ts';
import { measured } from '../support/gradients/figures.ts';
import { inModes } from '../support/gradients/harness.ts';
import { controlRows } from './control.rows.ts';
import { loopRows } from './loop.rows.ts';

const fail = (): never => {
  throw new Error('missing');
};

describe('gradients of control flow', () => {
  it.each([...controlRows, ...loopRows].map((row) => [row.is, row] as const))('%s', (_, row) =>
    measured(row.ops, async () => {
      const outcomes = await inModes(row, checkControl);
      expect(outcomes.some((o) => !o.refused)).toBe(true);
    }),
  );
});

// h' = tanh(x·w + h·r) over the first axis of x, as operators of a recurrence say it.
decomposeRaw('test.Recurrent', ({ inputs: [x = fail(), w = fail(), r = fail(), h = fail()], g }) => {
  const [last, all] = scan(g, { states: [h], slices: [x] }, (b, at) => {
    const next = b.Tanh(b.Add(b.MatMul(at(1), w), b.MatMul(at(0), r)));
    return { states: [next], parts: [next] };
  });
  return [all, last];
});

describe('bodies beyond the operators of control flow', () => {
  it('a decomposition may hold a Scan whose body captures what the operator reads', async () => {
    await checkControl(
      {
        is: 'the same recurrence, once as an operator',
        ops: [],
        floats: { x: [4, 3, 2], w: [2, 2], h: [3, 2] },
        build: (g, { x = fail(), w = fail(), h = fail() }) => {
          const written = (start: Value): Value[] =>
            scan(g, { states: [start], slices: [x] }, (b, at) => {
              const next = b.Tanh(b.Add(b.MatMul(at(1), w), b.MatMul(at(0), w)));
              return { states: [next], parts: [next] };
            });
          const [last = fail(), all = fail()] = written(g.Mul(h, h));
          // The gradient goes through the operator; numbers come from what is written out.
          const [y = fail(), end = fail()] = g.node({
            op: 'Recurrent',
            domain: 'test',
            inputs: [x, w, w, g.Mul(h, h)],
            outputs: 2,
          });
          for (const [v, like] of [
            [y, all],
            [end, last],
          ] as const)
            v.type = like.type;
          return { outputs: [all, last], seeded: [y, end] };
        },
      },
      'symbolic',
    );
  });

  it('weights that a body captures stay one value, and what a gradient does not read is not saved', () => {
    const g = createBuilder(inferNode);
    const [x, w, s] = [
      new Value('x', tensorType('float32', [4, 2])),
      new Value('w', tensorType('float32', [2, 2])),
      new Value('s', tensorType('float32', [2])),
    ];
    const [end = fail()] = scan(g, { states: [s, s], slices: [x] }, (b, at) => ({
      states: [b.Add(b.MatMul(at(0), w), at(2)), b.Add(at(1), at(0))],
    }));
    const found = gradients({ g, seeds: [[end, end]], wrt: [x] });
    const node = found.get(x)?.producer ?? fail();
    // Linear in the states: the reverse needs the weight alone, and one slice to count the runs.
    expect(node.op).toBe('Scan');
    expect(node.inputs.length).toBe(2);
    expect(node.bodies.flatMap((b) => b.nodes).filter((n) => n.inputs.includes(w)).length).toBe(1);
    expect(end.producer?.outputs.length).toBe(2);
  });
});

describe('bodies that are refused', () => {
  const g = createBuilder(inferNode);
  const [x, s] = [new Value('x', tensorType('float32', [4, 3, 3])), new Value('s', tensorType('float32', [3, 3]))];

  it('an operator without a rule, by its name and the way out of the body', () => {
    const [end = fail()] = scan(g, { states: [s], slices: [x] }, (b, at) => {
      const odd = { op: 'BiasAdd', domain: 'com.microsoft', inputs: [at(1), at(1), at(1)], outputs: 1 };
      const [sum = fail()] = b.within({ origin: 'inner' }, () => b.node(odd));
      return { states: [b.Mul(at(0), sum)] };
    });
    const y = g.within({ origin: 'last' }, () => g.Exp(end));
    const refusal = expect(() => gradients({ g, seeds: [[y, y]], wrt: [x] }));
    refusal.toThrow(expect.toSatisfy(coded('NO_GRADIENT', 'BiasAdd')));
    refusal.toThrow(
      expect.objectContaining({
        node: 'inner.BiasAdd',
        where: 'on the path to the loss: BiasAdd "inner.BiasAdd" -> Mul "Mul" -> Scan "Scan" -> Exp "last.Exp"',
      }),
    );
  });

  it('random numbers, which another run would draw anew', () => {
    const [end = fail()] = scan(g, { states: [s], slices: [x] }, (b, at) => ({
      states: [b.Mul(b.Add(at(0), at(1)), b.RandomNormalLike(at(0)))],
    }));
    expect(() => gradients({ g, seeds: [[end, end]], wrt: [x] })).toThrow(
      expect.toSatisfy(coded('NO_GRADIENT', 'RandomNormalLike', 'cannot reproduce')),
    );
  });

  it('a state that is a sequence and that the gradient needs', () => {
    const kept = g.SequenceConstruct([g.Exp(g.like(s, 1))]);
    const [, end = fail()] = loop(g, { trips: g.int(2), states: [kept, s] }, (b, at) => {
      const last = b.SequenceAt(at(0), b.int(-1));
      return { states: [b.SequenceInsert(at(0), last), b.Mul(at(1), last)] };
    });
    expect(() => gradients({ g, seeds: [[end, end]], wrt: [s] })).toThrow(
      expect.toSatisfy(coded('NO_GRADIENT', 'of each iteration', 'not known to be a tensor')),
    );
  });

  it('a captured value of unknown rank in a Scan, which ONNX Runtime would not run', () => {
    const any = new Value('any', tensorType('float32', undefined));
    const [end = fail()] = scan(g, { states: [s], slices: [x] }, (b, at) => ({
      states: [b.Mul(at(0), b.ReduceSum(b.Mul(any, any), undefined, { keepdims: 0 }))],
    }));
    expect(() => gradients({ g, seeds: [[end, end]], wrt: [any] })).toThrow(
      expect.toSatisfy(coded('UNSUPPORTED_SHAPE', 'rank of "any"')),
    );
  });
});
