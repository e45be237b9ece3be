/** Graphs with bodies for gradient checks: If, Scan and Loop written as functions. */
import { type Builder, createBuilder } from '../../../src/graph/builder.ts';
import { Graph, tensorType, Value } from '../../../src/graph/model.ts';
import { inferNode } from '../../../src/passes/shapes/index.ts';
import { checkGraph, type Data, type Mode, normal, type Outcome, variables } from './harness.ts';

export interface ControlCase {
  readonly is: string;
  readonly ops: readonly string[];
  /** Float inputs by name; the gradient with respect to each is checked. */
  readonly floats: Readonly<Record<string, readonly number[]>>;
  /** Integer and bool inputs by name, scalars. */
  readonly scalars?: Readonly<Record<string, number | boolean>>;
  readonly build: (g: Builder, v: Readonly<Record<string, Value>>) => Value | readonly Value[] | Built;
  readonly modes?: readonly Mode[];
}

/** What is computed, and values of the same numbers that the gradients start from. */
interface Built {
  readonly outputs: readonly Value[];
  readonly seeded: readonly Value[];
}

/** ONNX Runtime runs no Scan whose body's results have an unknown rank. */
export const ranked = ['static', 'symbolic', 'unknown'] as const;

let bodies = 0;
/** A body's input of the type that it gets, its shape to be inferred. */
const standing = (of: Value, i: number): Value => new Value(`in${i}_${bodies++}`, tensorType(of.dtype, undefined));

const fail = (): never => {
  throw new Error('missing');
};

/** Values by place; a missing one is a mistake of the case. */
export type Pick = (i: number) => Value;
const pick =
  (list: readonly Value[]): Pick =>
  (i) =>
    list[i] ?? fail();

interface Body {
  readonly states: readonly Value[];
  readonly parts?: readonly Value[];
}

export interface Scanned {
  readonly states?: readonly Value[];
  readonly slices: readonly Value[];
  readonly attrs?: object;
}

/** A Scan; `make` gets states, then slices. Final states, then stacks. */
export function scan(
  g: Builder,
  { states = [], slices, attrs }: Scanned,
  make: (g: Builder, at: Pick) => Body,
): Value[] {
  const ins = [...states, ...slices].map(standing);
  let outputs = 0;
  const body = g.body('step', ins, (inner) => {
    const { states: next, parts = [] } = make(inner, pick(ins));
    outputs = next.length + parts.length;
    return [...next, ...parts];
  });
  return g.node({
    op: 'Scan',
    inputs: [...states, ...slices],
    attrs: { body, num_scan_inputs: slices.length, ...attrs },
    outputs,
  });
}

export interface Looped {
  readonly trips?: Value | undefined;
  readonly going?: Value | undefined;
  readonly states?: readonly Value[];
}

/** A Loop; `make` gets the states and the iteration number; `going` of its result is the condition, true where it is left out. */
export function loop(
  g: Builder,
  { trips, going, states = [] }: Looped,
  make: (g: Builder, at: Pick, iteration: Value) => Body & { readonly going?: Value },
): Value[] {
  const iteration = new Value(`i${bodies++}`, tensorType('int64', []));
  const still = new Value(`still${bodies++}`, tensorType('bool', []));
  const ins = states.map(standing);
  let outputs = 0;
  const body = g.body('step', [iteration, still, ...ins], (inner) => {
    const made = make(inner, pick(ins), iteration);
    const { states: next, parts = [] } = made;
    outputs = next.length + parts.length;
    return [made.going ?? inner.Identity(still), ...next, ...parts];
  });
  return g.node({ op: 'Loop', inputs: [trips, going, ...states], attrs: { body }, outputs });
}

/** An If with one result per value that both branches give. */
export function branch(
  g: Builder,
  condition: Value,
  yes: (g: Builder) => readonly Value[],
  no: (g: Builder) => readonly Value[],
): Value[] {
  const then_branch = g.body('yes', [], yes);
  const else_branch = g.body('no', [], no);
  return g.node({
    op: 'If',
    inputs: [condition],
    attrs: { then_branch, else_branch },
    outputs: then_branch.outputs.length,
  });
}

/** The gradients of a case in one mode against central differences. */
export async function checkControl(c: ControlCase, mode: Mode): Promise<Outcome> {
  const graph = new Graph('control');
  const g = createBuilder(inferNode, graph.inputs);
  const { values, inputs } = variables(graph, c.floats, mode, normal, 'float64');
  const fed = new Map<Value, Data>(inputs);
  for (const [name, value] of Object.entries(c.scalars ?? {})) {
    const type = typeof value === 'boolean' ? 'bool' : 'int64';
    const v = new Value(name, tensorType(type, mode === 'unranked' ? undefined : []));
    graph.inputs.push(v);
    fed.set(v, { type, dims: [], values: [Number(value)] });
  }
  const built = c.build(g, Object.fromEntries(graph.inputs.map((v) => [v.name, v])));
  const results = 'seeded' in built ? built : { outputs: [built].flat() };
  return checkGraph({
    ...results,
    graph,
    g,
    inputs: fed,
    wrt: values,
    opset: 18,
    type: 'float64',
    mode,
    exact: false,
    // Rounding of 1e-16 over the step, and the step's fourth power, times a few runs of a body.
    step: 1e-3,
    tolerance: 1e-8,
  });
}
