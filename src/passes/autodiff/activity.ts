/**
 * Activity analysis: the values with a derivative, forwards from the inputs of differentiation and backwards from the
 * loss, bodies of control flow included. A loop-carried state is one value in both directions.
 */
import { capturedBy, type Graph, type Node, type Value } from '../../graph/model.ts';
import { attrsOf } from '../../graph/operators.ts';
import { isFloat } from '../../graph/tensor.ts';
import { stopMark } from '../common/shapeTools.ts';
import { gradRule, isStopped } from './rules.ts';

const mayCarry = (v: Value): boolean => v.dtype === undefined || isFloat(v.dtype);

/**
 * Values with a derivative with respect to `wrt`: float results of nodes without a stop rule, and integers that a
 * quantizer makes.
 */
export function activeValues(order: readonly Node[], wrt: Iterable<Value>): Set<Value> {
  const active = new Set(wrt);
  for (const node of order) {
    if (isStopped(node) || node.metadata.has(stopMark)) continue;
    const captured = capturedBy(node).some((v) => active.has(v));
    if (!captured && !node.inputs.some((v) => v !== undefined && active.has(v))) continue;
    const inside = activeInside(node, active);
    const integers = gradRule(node)?.integers === true;
    node.outputs.forEach((o, i) => {
      if ((integers || mayCarry(o)) && (inside === undefined || inside.outputs[i] === true)) active.add(o);
    });
  }
  return active;
}

/** The positions of states among the inputs of a node, the inputs of its body and the outputs of the body. */
export interface Carried {
  readonly body: Graph;
  readonly count: number;
  readonly given: number;
  readonly input: number;
  readonly output: number;
}

/** undefined for a node without loop-carried states: If, and operators without a body. */
export function carriedBy(node: Node): Carried | undefined {
  if (node.domain !== '' || (node.op !== 'Loop' && node.op !== 'Scan')) return undefined;
  const { body } = attrsOf(node, node.op);
  if (body === undefined) return undefined;
  if (node.op === 'Loop') return { body, count: Math.max(0, node.inputs.length - 2), given: 2, input: 2, output: 1 };
  const count = node.inputs.length - (attrsOf(node, 'Scan').num_scan_inputs ?? 0);
  return { body, count, given: 0, input: 0, output: 0 };
}

export interface Inside {
  /** Active values of the bodies. */
  readonly active: ReadonlySet<Value>;
  /** Whether each output of the node is active. */
  readonly outputs: readonly boolean[];
}

/** The active values inside the bodies of control flow, given those outside; undefined for other nodes. */
export function activeInside(node: Node, outside: ReadonlySet<Value>): Inside | undefined {
  const captured = capturedBy(node).filter((v) => outside.has(v));
  if (node.op === 'If' && node.domain === '') {
    const active = new Set<Value>();
    for (const b of node.bodies) for (const v of activeValues(b.nodes, captured)) active.add(v);
    return { active, outputs: node.outputs.map((_, i) => node.bodies.some((b) => has(active, b.outputs[i]))) };
  }
  const carried = carriedBy(node);
  if (carried === undefined) return undefined;
  const { body, count, given, input, output } = carried;
  const starts = new Set(captured);
  const start = (v: Value | undefined): void => {
    if (v !== undefined && mayCarry(v)) starts.add(v);
  };
  // Scan inputs follow the states in both lists.
  node.inputs.slice(given).forEach((v, i) => {
    if (has(outside, v)) start(body.inputs[input + i]);
  });
  for (let before = -1; ; ) {
    const active = activeValues(body.nodes, starts);
    if (before === starts.size) {
      const states = body.inputs.slice(input, input + count).map((v) => starts.has(v));
      const parts = body.outputs.slice(output + count).map((v) => active.has(v));
      return { active, outputs: [...states, ...parts] };
    }
    before = starts.size;
    for (let i = 0; i < count; i++) if (has(active, body.outputs[output + i])) start(body.inputs[input + i]);
  }
}

const has = (set: ReadonlySet<Value>, v: Value | undefined): boolean => v !== undefined && set.has(v);

/**
 * Active values on paths back from `outputs` through the nodes of a body, its inputs and captured values among them.
 */
export function reachedFrom(body: Graph, outputs: Iterable<Value>, active: ReadonlySet<Value>): Set<Value> {
  const reached = new Set<Value>();
  const todo = [...outputs];
  for (let v = todo.pop(); v !== undefined; v = todo.pop()) {
    if (!active.has(v) || reached.has(v)) continue;
    reached.add(v);
    const from = v.producer;
    if (from?.graph !== body) continue;
    for (const x of [...from.inputs, ...capturedBy(from)]) if (x !== undefined) todo.push(x);
  }
  return reached;
}
