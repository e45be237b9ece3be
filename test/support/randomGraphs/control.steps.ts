/** Bodies: branches on conditions of every kind, scans and counted loops. */

import type { Builder } from '../../../src/graph/builder.ts';
import { sizeOf } from '../../../src/graph/layers.ts';
import type { Value } from '../../../src/graph/model.ts';
import { branch, loop, scan } from '../gradients/controlFlow.ts';
import type { Draft, Entry } from './draft.ts';
import { some } from './layout.steps.ts';
import type { Step } from './step.ts';

/** A condition: constant, fed, or computed from values away from zero. */
function condition(d: Draft): Value {
  const form = d.draw(3);
  if (form === 0) return d.g.constant('bool', [], [d.draw(2)]);
  if (form === 1) return d.whole([d.draw(2)], [], { type: 'bool' });
  return d.g.Greater(d.around(d.operand([]), [1, -1], 0.3).value, d.scalar(0));
}

/** A few operators on values of one shape, which they bound by 1. */
function mixture(d: Draft, g: Builder, values: readonly Value[]): Value {
  const one = (): Value => values[d.draw(values.length)] ?? d.scalar(0);
  let y = one();
  for (let i = d.draw(3); i >= 0; i--)
    y = d.oneOf([
      () => g.Mul(y, one()),
      () => g.Add(y, g.Sin(one())),
      () => g.Sub(g.Tanh(y), one()),
      () => g.Mul(g.Cos(y), g.Sigmoid(one())),
      () => g.Where(g.Less(g.Mul(one(), one()), g.like(y, -100)), y, one()),
    ])();
  return g.Tanh(g.Mul(y, g.like(y, 0.5)));
}

/** Up to two more values of this shape. */
const others = (d: Draft, x: Entry): Entry[] => {
  const fits = (e: Entry): boolean => e.shape.join() === x.shape.join();
  const list = [x, d.draw(2) === 0 ? d.find(fits) : undefined, d.draw(2) === 0 ? d.operand(x.shape) : undefined];
  return list.filter((e) => e !== undefined);
};
const values = (list: readonly Entry[]): Value[] => list.map((e) => e.value);

export const steps: readonly Step[] = [
  {
    ops: ['If'],
    make: (d) => {
      const list = others(d, d.pick());
      const [x] = list;
      if (x === undefined) return;
      const second = d.draw(2) === 0;
      const made = (g: Builder): Value[] =>
        Array.from({ length: second ? 2 : 1 }, () =>
          d.draw(4) === 0 ? g.Identity(d.scaled(x, 1).value) : mixture(d, g, values(list)),
        );
      branch(d.g, condition(d), made, made).forEach((y) => {
        d.put(y, 1, x.shape);
      });
    },
  },
  {
    ops: ['Scan'],
    make: (d) => {
      // Slices along the first axis; the state has the shape of one.
      const list = others(d, d.scaled(some(d), 1));
      const [x] = list;
      if (x === undefined || sizeOf(x.shape) === 0) return;
      const state = d.pick(
        (e) => e.shape.join() === x.shape.slice(1).join(),
        () => x.shape.slice(1),
      );
      const captured = d.draw(2) === 0 ? [d.operand(x.shape.slice(1)).value] : [];
      const attrs = {
        scan_input_directions: list.map(() => d.draw(2)),
        scan_output_directions: [d.draw(2)],
      };
      const [last, all] = scan(d.g, { states: [state.value], slices: values(list), attrs }, (g, at) => {
        const inside = [at(0), ...list.map((_, i) => at(i + 1)), ...captured];
        return { states: [mixture(d, g, inside)], parts: [mixture(d, g, inside)] };
      });
      if (last !== undefined && d.draw(3) > 0) d.put(last, 1, state.shape);
      if (all !== undefined) d.put(all, 1, x.shape);
    },
  },
  {
    ops: ['Loop'],
    make: (d) => {
      const list = others(d, d.pick());
      const [x, ...captured] = list;
      if (x === undefined) return;
      const count = 1 + d.draw(3);
      const stacked = d.draw(2) === 0 && x.shape.length < 4 && count * sizeOf(x.shape) <= 64;
      const results = loop(d.g, { trips: d.fixed([count], []), states: [x.value] }, (g, at) => ({
        states: [mixture(d, g, [at(0), ...values(captured)])],
        parts: stacked ? [mixture(d, g, [at(0), ...values(captured)])] : [],
      }));
      const [last, all] = results;
      if (last !== undefined) d.put(last, 1, x.shape);
      if (all !== undefined) d.put(all, 1, [count, ...x.shape]);
    },
  },
];
