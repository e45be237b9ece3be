/** If and Scan in float64: what is captured, carried, sliced and stacked, in either direction and at any depth. */

import { branch, type ControlCase, ranked, scan } from '../support/gradients/controlFlow.ts';
import type { Exceptions } from '../support/gradients/tables.ts';

const no = (): never => {
  throw new Error('missing');
};

const ifs: readonly ControlCase[] = [
  ...[true, false].flatMap((c): ControlCase[] => [
    {
      is: `If that is ${c}, branches that capture different values`,
      ops: ['If'],
      floats: { x: [2, 3], w: [3, 2], b: [2] },
      scalars: { c },
      build: (g, { x = no(), w = no(), b = no(), c: condition = no() }) => {
        const h = g.Tanh(x);
        const [y = no(), z = no()] = branch(
          g,
          condition,
          (t) => [t.MatMul(h, w), t.Exp(x)],
          (e) => [e.Mul(b, b), e.Mul(h, x)],
        );
        return [g.Mul(y, y), z];
      },
    },
    {
      is: `If that is ${c}, a branch that hands on what it captures, twice, and one that is constant`,
      ops: ['If'],
      floats: { x: [3] },
      scalars: { c },
      build: (g, { x = no(), c: condition = no() }) => {
        const [y = no(), z = no()] = branch(
          g,
          condition,
          () => [x, x],
          (e) => [e.Mul(e.like(x, 2), e.like(x, 3)), e.Exp(x)],
        );
        return g.Mul(g.Add(y, z), x);
      },
    },
    {
      is: `If that is ${c}, one of whose results is read`,
      ops: ['If'],
      floats: { x: [3], z: [2] },
      scalars: { c },
      build: (g, { x = no(), z = no(), c: condition = no() }) => {
        const [, y = no()] = branch(
          g,
          condition,
          (t) => [t.Exp(z), t.Tanh(x)],
          (e) => [e.Tanh(z), e.Mul(x, x)],
        );
        return y;
      },
    },
  ]),
  {
    is: 'If in an If, on conditions that depend on the data',
    ops: ['If'],
    floats: { x: [3], w: [3] },
    build: (g, { x = no(), w = no() }) => {
      const sum = g.ReduceSum(x, undefined, { keepdims: 0 });
      const [y = no()] = branch(
        g,
        g.Greater(g.Mul(sum, sum), g.like(sum, 0)),
        (t) => {
          const h = t.Mul(x, w);
          return branch(
            t,
            t.Less(t.ReduceSum(t.Mul(w, w), undefined, { keepdims: 0 }), t.like(w, 0)),
            (a) => [a.Exp(h)],
            (b) => [b.Mul(b.Tanh(h), w)],
          );
        },
        (e) => [e.Neg(x)],
      );
      return y;
    },
  },
];

/** s' = tanh(s·w + x), y = s'·s. */
const recurrent = (attrs: object, x: readonly number[]): ControlCase => ({
  is: `Scan ${JSON.stringify(attrs)}`,
  ops: ['Scan'],
  floats: { s: [3], w: [3, 3], x },
  modes: ranked,
  build: (g, { s = no(), w = no(), x: xs = no() }) =>
    scan(g, { states: [s], slices: [xs], attrs }, (b, at) => {
      const next = b.Tanh(b.Add(b.MatMul(at(0), w), at(1)));
      return { states: [next], parts: [b.Mul(next, at(0))] };
    }),
});

const one = (is: string, floats: ControlCase['floats'], build: ControlCase['build']): ControlCase => ({
  is,
  ops: ['Scan'],
  floats,
  modes: ranked,
  build,
});

const scans: readonly ControlCase[] = [
  recurrent({}, [4, 3]),
  recurrent({ scan_input_directions: [1] }, [4, 3]),
  recurrent({ scan_output_directions: [1] }, [4, 3]),
  recurrent({ scan_input_directions: [1], scan_output_directions: [1] }, [1, 3]),
  recurrent({ scan_input_axes: [1], scan_output_axes: [-1] }, [3, 4]),
  recurrent({ scan_input_axes: [-1], scan_input_directions: [1], scan_output_axes: [1] }, [3, 4]),
  one(
    'Scan of two states and two slices, apart in axis and direction',
    { s: [2], t: [3], x: [4, 2], y: [3, 4] },
    (g, v) => {
      const { s = no(), t = no(), x = no(), y = no() } = v;
      const attrs = {
        scan_input_axes: [0, 1],
        scan_input_directions: [0, 1],
        scan_output_axes: [1, 0],
        scan_output_directions: [1, 0],
      };
      return scan(g, { states: [s, t], slices: [x, y], attrs }, (b, at) => {
        const [first, second] = [b.Mul(at(0), at(2)), b.Add(at(1), b.Tanh(at(3)))];
        const sum = b.ReduceSum(second, undefined, { keepdims: 0 });
        return { states: [b.Tanh(b.Mul(first, sum)), second], parts: [b.Mul(at(1), at(3)), b.Add(first, sum)] };
      });
    },
  ),
  one('Scan without states', { x: [4, 3], w: [3] }, (g, { x = no(), w = no() }) =>
    scan(g, { slices: [x] }, (b, at) => ({ states: [], parts: [b.Tanh(b.Mul(at(0), w))] })),
  ),
  one('Scan whose reverse reads nothing of the forward', { x: [4, 3], s: [3] }, (g, { x = no(), s = no() }) =>
    scan(g, { states: [s], slices: [x] }, (b, at) => ({ states: [b.Mul(at(0), b.like(at(0), 0.7))] })),
  ),
  one('Scan over what its body captures too', { x: [4, 3], s: [4, 3] }, (g, { x = no(), s = no() }) =>
    scan(g, { states: [s], slices: [x] }, (b, at) => ({ states: [b.Tanh(b.Add(b.Mul(at(0), x), at(1)))] })),
  ),
  one('Scan whose last state is not read, and one that is never replaced', { x: [3, 2], s: [2], k: [2] }, (g, v) => {
    const { x = no(), s = no(), k = no() } = v;
    const results = scan(g, { states: [s, k], slices: [x] }, (b, at) => ({
      states: [b.Mul(b.Tanh(at(0)), at(1)), at(1)],
      parts: [b.Mul(at(0), at(2))],
    }));
    return results.slice(1);
  }),
  one('Scan with a state that is forgotten', { x: [3, 2], s: [2] }, (g, { x = no(), s = no() }) =>
    scan(g, { states: [s], slices: [x] }, (b, at) => ({ states: [b.Tanh(at(1))], parts: [b.Mul(at(0), at(1))] })),
  ),
  one(
    'Scan that counts, and picks by the count',
    { x: [3, 2], w: [3, 2], s: [2] },
    (g, { x = no(), w = no(), s = no() }) =>
      scan(g, { states: [g.int(0), s], slices: [x, g.ints([2, 0, 1])] }, (b, at) => {
        const picked = b.Mul(b.Gather(w, at(0)), b.Gather(w, at(3)));
        return { states: [b.Add(at(0), b.int(1)), b.Add(b.Tanh(at(1)), b.Mul(picked, at(2)))] };
      }),
  ),
  one('Scan with a body beside the way to the loss', { x: [3, 2], s: [2] }, (g, { x = no(), s = no() }) => {
    const [y = no()] = scan(g, { states: [s, s], slices: [x] }, (b, at) => ({
      // The second state has no gradient, and needs none.
      states: [
        b.Tanh(b.Add(at(0), at(2))),
        b.node({ op: 'Identity', inputs: [b.Floor(at(1))], outputs: 1 })[0] ?? no(),
      ],
    }));
    return y;
  }),
  one('Scan in a Scan, weights captured through both', { x: [3, 4, 2], w: [2, 2], s: [2] }, (g, v) => {
    const { x = no(), w = no(), s = no() } = v;
    return scan(g, { states: [s], slices: [x] }, (b, at) => {
      const [end = no(), all = no()] = scan(b, { states: [at(0)], slices: [at(1)] }, (c, inner) => {
        const next = c.Tanh(c.Add(c.MatMul(inner(0), w), c.Mul(inner(1), at(0))));
        return { states: [next], parts: [c.Mul(next, next)] };
      });
      return { states: [end], parts: [b.Mul(all, at(1))] };
    });
  }),
  one('Scan in a branch, and a branch in a Scan', { x: [3, 2], w: [2] }, (g, { x = no(), w = no() }) => {
    const positive = g.Greater(g.ReduceSum(g.Mul(x, x), undefined, { keepdims: 0 }), g.like(x, 0));
    return branch(
      g,
      positive,
      (t) =>
        scan(t, { states: [w], slices: [x] }, (b, at) => ({
          states: branch(
            b,
            b.Greater(b.ReduceSum(at(1), undefined, { keepdims: 0 }), b.like(at(1), 0)),
            (p) => [p.Mul(p.Tanh(at(0)), w)],
            (q) => [q.Add(at(0), at(1))],
          ),
        })),
      () => [w],
    );
  }),
];

export const controlRows: readonly ControlCase[] = [...ifs, ...scans];

/** What the tests would make for every operator, and cannot for these. */
export const exceptions: Exceptions = {
  If: { empty: 'the operators of its branches have theirs' },
  Scan: { empty: 'ONNX Runtime runs none over zero steps' },
};
