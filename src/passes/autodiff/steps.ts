/**
 * Scan and Loop backwards: the states, slices and captured values with a gradient, and the computation of one iteration
 * of the reversed body.
 */
import type { Builder } from '../../graph/builder.ts';
import { type Graph, type Node, Value } from '../../graph/model.ts';
import { sameShape } from '../common/shapeTools.ts';
import { activeInside, type Carried, reachedFrom } from './activity.ts';
import { checkDense, recompute, toolsFor } from './recompute.ts';
import type { Gradients, RawSite } from './rules.ts';
import { gradients, place } from './walk.ts';

type Around = Pick<RawSite, 'node' | 'captured' | 'active' | 'onward'>;

/** A state: its initial value, the body's input and output, and the gradient of its final value. */
export interface State {
  /** Position among the node's inputs. */
  readonly at: number;
  readonly from: Value;
  readonly input: Value;
  readonly output: Value;
  readonly dy: Value | undefined;
}

/** A scan input: a slice of `from` in each iteration. */
export interface Slice {
  readonly at: number;
  readonly from: Value;
  readonly input: Value;
  readonly axis: number;
  readonly direction: number;
}

/** A scan output: `output` of each iteration, stacked, and the gradient of the stack. */
interface Part {
  readonly output: Value;
  readonly dy: Value | undefined;
}

type Alive<P> = P & { readonly dy: Value };

interface Steps<P extends Part> {
  readonly body: Graph;
  readonly states: readonly State[];
  readonly slices: readonly Slice[];
  readonly parts: readonly P[];
}

/** States of a Scan or Loop, in order. */
export function statesOf(
  { inputs }: Node,
  { body, count, given, input, output }: Carried,
  dys: readonly (Value | undefined)[],
): State[] {
  return Array.from({ length: count }, (_, i) => i).flatMap((i): State[] => {
    const [from, before, after] = [inputs[given + i], body.inputs[input + i], body.outputs[output + i]];
    if (from === undefined || before === undefined || after === undefined) return [];
    return [{ at: given + i, from, input: before, output: after, dy: dys[i] }];
  });
}

/** The steps that have a gradient. */
export interface Live<P extends Part> extends Steps<Alive<P>> {
  readonly captured: readonly Value[];
  /** Results of the reversed node, which are those of `reversed`, in the order that the walk expects. */
  handBack(results: readonly Value[], inputs: number): Gradients;
}

/** The states, slices, stacks and captured values with a gradient. */
export function live<P extends Part>({ node, captured, active, onward }: Around, steps: Steps<P>): Live<P> {
  checkDense(steps.body, () => place(onward));
  const inside = activeInside(node, active)?.active ?? active;
  const parts = steps.parts.flatMap((p): Alive<P>[] => (p.dy === undefined ? [] : [{ ...p, dy: p.dy }]));
  let states = steps.states.filter((s) => s.dy !== undefined);
  for (;;) {
    const reached = reachedFrom(
      steps.body,
      [...parts, ...states].map((s) => s.output),
      inside,
    );
    const more = steps.states.filter((s) => s.dy !== undefined || reached.has(s.input));
    if (more.length > states.length) {
      states = more;
      continue;
    }
    const found = {
      states,
      slices: steps.slices.filter((s) => reached.has(s.input)),
      captured: captured.filter((v) => reached.has(v)),
    };
    return {
      ...found,
      body: steps.body,
      parts,
      handBack: (results, inputs) => handBack(found, captured, results, inputs),
    };
  }
}

function handBack(
  { states, slices, captured }: Pick<Live<Part>, 'states' | 'slices' | 'captured'>,
  all: readonly Value[],
  results: readonly Value[],
  inputs: number,
): Gradients {
  const gradients = new Array<Value | undefined>(inputs + all.length).fill(undefined);
  const places = [...states, ...captured.map((from) => ({ from, at: inputs + all.indexOf(from) })), ...slices];
  places.forEach(({ at, from }, i) => {
    const result = results[i];
    if (result === undefined) return;
    result.type = from.type ?? result.type;
    gradients[at] = result;
  });
  return gradients;
}

/** The inputs of a reversed Scan or Loop body in addition to captured values. */
export interface Reads {
  /** Gradients of the states after the iteration. */
  readonly dstates: readonly Value[];
  /** Gradients of captured values, summed over the later iterations. */
  readonly sums: readonly Value[];
  /** The values of the forward body's inputs. */
  readonly given: ReadonlyMap<Value, Value>;
  /** Gradients of this iteration's part of each stack. */
  readonly dparts: readonly Value[];
}

/**
 * One iteration backwards: gradients of the states before it, the sums with this iteration's share, gradients of its
 * slices.
 */
export function reversed(
  { node, onward }: Pick<Around, 'node' | 'onward'>,
  g: Builder,
  { body, states, slices, parts, captured }: Live<Part>,
  { dstates, sums, given, dparts }: Reads,
): Value[] {
  const copy = recompute(g, body, given);
  const tools = toolsFor(g, node);
  const seeds = [...states, ...parts].flatMap((s, i) => {
    const dy = i < states.length ? dstates[i] : dparts[i - states.length];
    return dy === undefined ? [] : [[copy(s.output), dy] as const];
  });
  const wrt = [...[...states, ...slices].map((s) => copy(s.input)), ...captured];
  const found = gradients({ g, seeds, wrt, ...onward });
  return [
    ...states.map(({ input, output }, i) => {
      const after = dstates[i];
      const like = after !== undefined && sameShape(input.shape, output.shape) ? after : copy(input);
      return found.get(copy(input)) ?? tools.zerosLike(like);
    }),
    ...captured.flatMap((v, i) => {
      const [sum, dv] = [sums[i], found.get(v)];
      return sum === undefined ? [] : [dv === undefined ? sum : g.Add(sum, dv)];
    }),
    ...slices.map(({ input }) => found.get(copy(input)) ?? tools.zerosLike(copy(input))),
  ];
}

export const gradientOf = (v: Value, suffix = ''): Value => new Value(`grad.${v.name}${suffix}`, v.type);
