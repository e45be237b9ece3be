/** Loops in float64: counted, ended by their data or never begun; states that grow; loops in other bodies. */

import { branch, type ControlCase, loop, ranked, scan } from '../support/gradients/controlFlow.ts';
import type { Exceptions } from '../support/gradients/tables.ts';

const no = (): never => {
  throw new Error('missing');
};

export const loopRows: readonly ControlCase[] = [
  ...[3, 1, 0].map(
    (trips): ControlCase => ({
      is: `Loop of ${trips} runs`,
      ops: ['Loop'],
      floats: { s: [2, 3], w: [3, 3] },
      scalars: { trips },
      build: (g, { s = no(), w = no(), trips: n = no() }) =>
        loop(g, { trips: n, states: [s] }, (b, at) => ({ states: [b.Tanh(b.MatMul(at(0), w))] })),
    }),
  ),
  {
    is: 'Loop of a constant count, of shape [1], that hands out parts and reads its number',
    ops: ['Loop'],
    floats: { s: [3], w: [4, 3] },
    build: (g, { s = no(), w = no() }) =>
      loop(g, { trips: g.ints([4]), going: g.constant('bool', [], [1]), states: [s] }, (b, at, i) => {
        const next = b.Mul(b.Tanh(at(0)), b.Gather(w, i));
        return { states: [next], parts: [b.Mul(next, at(0)), b.Exp(at(0))] };
      }),
  },
  {
    is: 'Loop that reads one slice of what a layer computed, at its own counter',
    ops: ['Loop'],
    floats: { s: [3], w: [4, 3] },
    build: (g, { s = no(), w = no() }) => {
      const rows = g.Tanh(w);
      const counted = { trips: g.ints([4]), going: g.constant('bool', [], [1]), states: [g.int(0), s] };
      const [, y = no()] = loop(g, counted, (b, at) => {
        const row = b.Gather(rows, b.Reshape(at(0), b.ints([])), { axis: 0 });
        return { states: [b.Add(at(0), b.int(1)), b.Tanh(b.Add(b.Mul(at(1), row), row))] };
      });
      return y;
    },
  },
  {
    is: 'Loop until its data say so',
    ops: ['Loop'],
    floats: { s: [3], w: [3] },
    build: (g, { s = no(), w = no() }) =>
      loop(g, { going: g.constant('bool', [], [1]), states: [g.Mul(s, s)] }, (b, at) => {
        const next = b.Add(b.Mul(at(0), b.like(w, 0.6)), b.Mul(w, w));
        const size = b.ReduceSum(b.Mul(at(0), at(0)), undefined, { keepdims: 0 });
        return { going: b.Greater(size, b.like(size, 0.9)), states: [next], parts: [b.Mul(next, at(0))] };
      }),
  },
  {
    is: 'Loop that a limit or its data end, with an integer state',
    ops: ['Loop'],
    floats: { s: [3] },
    scalars: { trips: 9 },
    build: (g, { s = no(), trips = no() }) => {
      const [, y = no()] = loop(g, { trips, states: [g.int(1), s] }, (b, at) => {
        const twice = b.Mul(at(0), b.int(2));
        const factor = b.CastLike(at(0), s);
        return { going: b.Less(twice, b.int(8)), states: [twice, b.Tanh(b.Mul(at(1), factor))] };
      });
      return y;
    },
  },
  {
    is: 'Loop that never runs, on its condition',
    ops: ['Loop'],
    floats: { s: [3], w: [3] },
    scalars: { trips: 2, going: false },
    build: (g, { s = no(), w = no(), trips = no(), going = no() }) =>
      loop(g, { trips, going, states: [g.Exp(s)] }, (b, at) => ({ states: [b.Mul(at(0), w)] })),
  },
  {
    is: 'Loop whose reverse reads nothing of the forward',
    ops: ['Loop'],
    floats: { s: [3], b: [3] },
    build: (g, { s = no(), b: bias = no() }) =>
      loop(g, { going: g.constant('bool', [], [1]), states: [g.int(0), s] }, (b, at) => ({
        going: b.Less(at(0), b.int(2)),
        states: [b.Add(at(0), b.int(1)), b.Add(at(1), bias)],
      })).slice(1),
  },
  {
    is: 'Loop whose state grows, so that it is kept in a sequence',
    ops: ['Loop'],
    floats: { s: [1, 2], w: [2, 2] },
    scalars: { trips: 3 },
    build: (g, { s = no(), w = no(), trips = no() }) =>
      loop(g, { trips, states: [s] }, (b, at) => {
        const last = b.Gather(at(0), b.ints([-1]), { axis: 0 });
        return { states: [b.Concat([b.Tanh(at(0)), b.MatMul(last, w)], { axis: 0 })], parts: [b.Exp(last)] };
      }),
  },
  {
    is: 'Loop whose growing state nobody reads at its end',
    ops: ['Loop'],
    floats: { s: [1, 2] },
    build: (g, { s = no() }) =>
      loop(g, { trips: g.int(3), states: [s] }, (b, at) => ({
        states: [b.Concat([b.Tanh(at(0)), at(0)], { axis: 0 })],
        parts: [b.ReduceSum(b.Mul(at(0), at(0)), b.ints([0]), { keepdims: 0 })],
      })).slice(1),
  },
  {
    is: 'Loop in a Loop, runs of the inner as many as the outer has done',
    ops: ['Loop'],
    floats: { s: [3], w: [3] },
    scalars: { trips: 3 },
    build: (g, { s = no(), w = no(), trips = no() }) =>
      loop(g, { trips, states: [s] }, (b, at, i) => {
        const [inner = no()] = loop(b, { trips: i, states: [at(0)] }, (c, state) => ({
          states: [c.Tanh(c.Mul(state(0), c.Add(w, at(0))))],
        }));
        return { states: [b.Mul(inner, w)] };
      }),
  },
  {
    is: 'Loop in a branch in a Scan',
    ops: ['If', 'Loop', 'Scan'],
    floats: { s: [2], x: [3, 2], w: [2] },
    modes: ranked,
    build: (g, { s = no(), x = no(), w = no() }) =>
      scan(g, { states: [s], slices: [x] }, (b, at) => ({
        states: branch(
          b,
          b.Greater(b.ReduceSum(at(1), undefined, { keepdims: 0 }), b.like(at(1), 0)),
          (t) =>
            loop(t, { trips: t.int(2), states: [at(0)] }, (c, state) => ({ states: [c.Tanh(c.Mul(state(0), at(1)))] })),
          (e) => [e.Mul(at(0), w)],
        ),
      })),
  },
];

/** What the tests would make for every operator, and cannot for these. */
export const exceptions: Exceptions = {
  Loop: { empty: 'the operators of its body have theirs' },
};
