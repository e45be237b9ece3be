/**
 * If, Scan and Loop. The gradient recomputes the body next to its reverse, so only the states have to be kept: the
 * forward node outputs them, stacked, as they were before each iteration. Weights and other captured values stay
 * outside.
 */
import { noGradient } from '../../../errors.ts';
import type { Builder } from '../../../graph/builder.ts';
import { type Graph, type Node, tensorType, Value } from '../../../graph/model.ts';
import { asScalar, knownInts } from '../../common/dimArithmetic.ts';
import { sameShape } from '../../common/shapeTools.ts';
import { activeInside, carriedBy, reachedFrom } from '../activity.ts';
import { again, checkDense, checkDrawn, keep, recompute, stack, toolsFor } from '../recompute.ts';
import { grad, type RawSite } from '../rules.ts';
import { gradientOf, live, reversed, type Slice, type State, statesOf } from '../steps.ts';
import { gradients, place } from '../walk.ts';

// Another If on the same condition: each branch recomputes its forward and returns the gradient of every value that
// either captures.
grad(
  'If',
  ({ node, inputs: [condition], attrs: { then_branch, else_branch }, dys, captured, active, onward, g }) => {
    const branches = [then_branch, else_branch].filter((b) => b !== undefined);
    const inside = activeInside(node, active)?.active ?? active;
    const reached = branches.map((b) => {
      checkDense(b, () => place(onward));
      return reachedFrom(
        b,
        b.outputs.filter((_, i) => dys[i] !== undefined),
        inside,
      );
    });
    const wrt = captured.filter((v) => reached.some((r) => r.has(v)));
    if (wrt.length === 0) return [];
    const [yes, no] = branches.map((b) =>
      g.body(`${b.name}_grad`, [], (inner) => {
        const copy = recompute(inner, b);
        const tools = toolsFor(inner, node);
        const seeds = b.outputs.flatMap((o, i) => {
          const dy = dys[i];
          return dy === undefined ? [] : [[copy(o), typed(dy, o, inner.Identity)] as const];
        });
        const found = gradients({ g: inner, seeds, wrt, ...onward });
        return wrt.map((v) => found.get(v) ?? tools.zerosLike(v));
      }),
    );
    for (const b of [yes, no]) if (b !== undefined) checkDrawn(b, () => place(onward));
    const results = g.node({
      op: 'If',
      inputs: [condition],
      attrs: { then_branch: yes, else_branch: no },
      outputs: wrt.length,
    });
    results.forEach((v, i) => {
      v.type = wrt[i]?.type ?? v.type;
    });
    return [undefined, ...captured.map((v) => results[wrt.indexOf(v)])];
  },
  { many: true },
);

/** A gradient of an If's output, if its shape is known more precisely inside the branch. */
function typed(dy: Value, { shape }: Value, identity: (v: Value) => Value): Value {
  if (shape === undefined || sameShape(dy.shape, shape)) return dy;
  const known = identity(dy);
  known.type = tensorType(
    dy.dtype,
    shape.map((d, i) => d ?? dy.shape?.[i] ?? null),
  );
  return known;
}

/** The replacement of a forward body's input in the reversed body. */
function standIn(input: Value): Value {
  const v = new Value(again(input.name), input.type);
  v.elements = input.elements;
  return v;
}

const isRead = (v: Value): boolean => v.uses.size > 0;

// A Scan over the same slices in reverse order: gradients of the states are its states, captured values have a running
// sum.
grad(
  'Scan',
  (site) => {
    const { node, inputs, attrs, dys, onward, g } = site;
    const carried = carriedBy(node);
    if (carried === undefined) return [];
    const { body, count } = carried;
    const states = statesOf(node, carried, dys);
    const slices = inputs.slice(count).flatMap((from, i): Slice[] => {
      const input = body.inputs[count + i];
      const [axis, direction] = [attrs.scan_input_axes?.[i] ?? 0, attrs.scan_input_directions?.[i] ?? 0];
      return input === undefined ? [] : [{ at: count + i, from, input, axis, direction }];
    });
    const parts = body.outputs.slice(count).map((output, i) => {
      const [axis, direction] = [attrs.scan_output_axes?.[i] ?? 0, attrs.scan_output_directions?.[i] ?? 0];
      return { output, dy: dys[count + i], axis, direction };
    });
    const steps = live(site, { body, states, slices, parts });
    if (steps.states.length + steps.parts.length === 0) return [];
    // ONNX Runtime does not run a Scan whose results have an unknown rank.
    for (const v of [...steps.captured, ...[...steps.states, ...steps.slices].map((s) => s.from)]) g.rank(v);

    const dstates = steps.states.map((s) => gradientOf(s.output));
    const dparts = steps.parts.map((p) => gradientOf(p.output));
    const sums = steps.captured.map((v) => gradientOf(v, '.sum'));
    const given = new Map(body.inputs.map((v) => [v, standIn(v)]));
    const back = g.body(`${body.name}_grad`, [...dstates, ...sums, ...given.values(), ...dparts], (inner) =>
      reversed(site, inner, steps, { dstates, sums, given, dparts }),
    );
    checkDrawn(back, () => place(onward));
    const scanned = [
      ...states.map((s) => ({
        inside: given.get(s.input),
        from: new Value(`${s.input.name}.states`),
        axis: 0,
        direction: 0,
        saves: s.input,
      })),
      ...slices.map((s) => ({ ...s, inside: given.get(s.input), saves: undefined })),
      ...steps.parts.map((p, i) => ({ ...p, inside: dparts[i], from: p.dy, saves: undefined })),
    ].flatMap(({ inside, ...s }) => (inside !== undefined && isRead(inside) ? [{ ...s, inside }] : []));
    // Without any input, a slice counts the iterations.
    const [any] = slices;
    const counter = any === undefined ? undefined : given.get(any.input);
    if (scanned.length === 0 && any !== undefined && counter !== undefined)
      scanned.push({ ...any, inside: counter, saves: undefined });
    for (const { saves, from } of scanned) if (saves !== undefined) stack(node, body, saves, from);
    back.inputs.length = 0;
    back.inputs.push(...dstates, ...sums, ...scanned.map((s) => s.inside));
    const results = g.node({
      op: 'Scan',
      inputs: [
        ...steps.states.map((s) => s.dy ?? g.zerosLike(s.from)),
        ...steps.captured.map((v) => g.zerosLike(v)),
        ...scanned.map((s) => s.from),
      ],
      attrs: {
        body: back,
        num_scan_inputs: scanned.length,
        scan_input_axes: unlessZeros(scanned.map((s) => s.axis)),
        scan_input_directions: scanned.map((s) => 1 - s.direction),
        scan_output_axes: unlessZeros(steps.slices.map((s) => s.axis)),
        scan_output_directions: unlessZeros(steps.slices.map((s) => 1 - s.direction)),
      },
      outputs: back.outputs.length,
    });
    return steps.handBack(results, inputs.length);
  },
  { many: true },
);

const unlessZeros = (list: readonly number[]): readonly number[] | undefined =>
  list.some((n) => n !== 0) ? list : undefined;

const isTrue = (v: Value | undefined): boolean => knownInts(v)?.[0] === 1;

// A Loop with as many iterations as the forward, from the last to the first.
grad(
  'Loop',
  (site) => {
    const { node, inputs, dys, onward, g } = site;
    const carried = carriedBy(node);
    const [limit, condition] = inputs;
    const [iteration, going] = carried?.body.inputs ?? [];
    if (carried === undefined || iteration === undefined || going === undefined) return [];
    const { body } = carried;
    const states = statesOf(node, carried, dys);
    const parts = body.outputs.slice(1 + states.length).map((output, i) => ({ output, dy: dys[states.length + i] }));
    // Their number grows if the forward keeps states in a sequence.
    const arity = inputs.length;
    const steps = live(site, { body, states, slices: [], parts });
    if (steps.states.length + steps.parts.length === 0) return [];

    // If the condition cannot end the loop, the limit is the number of iterations; else the forward counts.
    const sure = limit !== undefined && (condition === undefined || isTrue(condition)) && isTrue(body.outputs[0]);
    const count = sure ? asScalar(g, limit) : runsOf(node, body, iteration, g);
    const last = g.Sub(count, g.int(1));

    const [run, still] = [new Value('run', tensorType('int64', [])), new Value('still', tensorType('bool', []))];
    const dstates = steps.states.map((s) => gradientOf(s.output));
    const sums = steps.captured.map((v) => gradientOf(v, '.sum'));
    const saved = states.map((s) => ({
      ...s,
      inside: standIn(s.input),
      all: new Value(`${s.input.name}.states`),
      even: isEven(s),
    }));
    const back = g.body(`${body.name}_grad`, [run, still, ...dstates, ...sums], (inner) => {
      const at = inner.Sub(last, run);
      const slice = (of: Value, like: Value, even = true): Value => {
        const v = even ? inner.Gather(of, at, { axis: 0 }) : inner.SequenceAt(of, at);
        v.type = like.type;
        return v;
      };
      const given = new Map([
        [iteration, at],
        [going, inner.constant('bool', [], [1])],
        ...saved.map(
          ({ input, inside, all, even }) =>
            [input, input.type?.kind === 'tensor' ? slice(all, inside, even) : inside] as const,
        ),
      ]);
      const dparts = steps.parts.map((p) => slice(p.dy, p.output));
      const results = reversed(site, inner, steps, { dstates, sums, given, dparts });
      return [inner.constant('bool', [], [1]), ...results];
    });
    checkDrawn(back, () => place(onward));
    for (const { input, inside, all, even } of saved) {
      if (isRead(inside))
        throw noGradient(
          `the gradient needs state "${input.name}" of each iteration, which is not known to be a tensor`,
          place(onward),
        );
      if (!isRead(all)) continue;
      if (even) stack(node, body, input, all);
      else keep(g, node, body, input, all);
    }
    const results = g.node({
      op: 'Loop',
      inputs: [
        count,
        undefined,
        ...steps.states.map((s) => s.dy ?? g.zerosLike(isEven(s) ? s.from : endOf(node, s, g))),
        ...steps.captured.map((v) => g.zerosLike(v)),
      ],
      attrs: { body: back },
      outputs: back.outputs.length - 1,
    });
    return steps.handBack(results, arity);
  },
  { many: true },
);

/** The number of iterations of a Loop: it outputs the number of each one. */
function runsOf(node: Node, body: Graph, iteration: Value, g: Builder): Value {
  const runs = new Value(`${iteration.name}.runs`);
  stack(node, body, iteration, runs);
  return g.Gather(g.Shape(runs), g.int(0));
}

/** The final value of a state. */
const endOf = (node: Node, { at, output }: State, g: RawSite['g']): Value =>
  g.output(node, at - 2, output.dtype, output.shape, 'end');

/** True if every iteration keeps the shape of the state, so that the states of all iterations can be stacked. */
const isEven = ({ input, output }: State): boolean => sameShape(input.shape, output.shape);
