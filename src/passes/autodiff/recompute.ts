/** Helpers for gradients of control flow: recomputed bodies, and values that a forward node stacks for its gradient. */
import { noGradient, unsupportedShape } from '../../errors.ts';
import type { Builder } from '../../graph/builder.ts';
import { cloneMap, cloneNodes } from '../../graph/clone.ts';
import { type Graph, Node, tensorType, Value, type ValueType } from '../../graph/model.ts';
import { isRandom } from '../../graph/operators.ts';
import { dataTypeNumber } from '../../graph/tensor.ts';
import { type GradTools, gradTools } from '../common/shapeTools.ts';

/** The place of a refusal. */
export type Place = () => { node: string; where: string };

/**
 * Copies of a body's nodes, detached and owned by `g`: captured values are shared, inputs are replaced as in `given`.
 * Only the nodes that a gradient reads are kept. Returns the copy of each value.
 */
export function recompute(g: Builder, body: Graph, given: ReadonlyMap<Value, Value> = new Map()): (v: Value) => Value {
  const map = cloneMap();
  for (const [from, to] of given) map.values.set(from, to);
  for (const v of body.initializers) if (v.tensor !== undefined) map.values.set(v, g.tensor(again(v.name), v.tensor));
  const known = new Set(map.values.values());
  const nodes = cloneNodes(body.nodes, map);
  for (const [of, v] of map.values) if (v !== undefined && !known.has(v)) v.name = again(of.name);
  for (const [of, copy] of map.nodes) {
    copy.name = of.label;
    if (!copy.metadata.has('loraify.rule')) copy.metadata.set('loraify.rule', 'grad/again');
  }
  g.take(nodes);
  return (v) => map.values.get(v) ?? v;
}

/** The name of a recomputed value. */
export const again = (name: string): string => (name === '' || name.endsWith('.again') ? name : `${name}.again`);

/** Sparse initializers are identified by name alone, so a copy of a body would not find them. */
export function checkDense(body: Graph, place: Place): void {
  for (const graph of body.allGraphs())
    if (graph.sparseInitializers.length > 0)
      throw noGradient(`graph "${graph.name}" has sparse initializers, which cannot be read twice`, place());
}

/** Random numbers drawn in a reversed body would differ from the forward's. */
export function checkDrawn(reversed: Graph, place: Place): void {
  for (const n of reversed.allNodes())
    if (isRandom(n))
      throw noGradient(
        `${n.op} "${n.label}" in a body draws random numbers, which its gradient cannot reproduce`,
        place(),
      );
}

export function toolsFor(g: Builder, node: Node): GradTools {
  return gradTools(g, (v) => {
    throw unsupportedShape(`the gradient of ${node.op} needs the rank of "${v.name}", which is not known`, {
      node: node.label,
    });
  });
}

/** Makes a Scan or Loop output an input of its body for every iteration, stacked along a new first axis, as `into`. */
export function stack(node: Node, body: Graph, input: Value, into: Value): void {
  fill(node, body);
  body.outputs.push(handedOut(body, input));
  node.replaceOutput(node.outputs.length, into);
  into.type = tensorType(input.dtype, input.shape === undefined ? undefined : [null, ...input.shape]);
  // Lists that a Scan leaves out are all zeros: axis 0, forwards.
  for (const name of ['scan_output_axes', 'scan_output_directions']) {
    const attr = node.attrs.get(name);
    if (attr?.kind === 'ints') node.attrs.set(name, { ...attr, value: [...attr.value, 0] });
  }
}

function handedOut(body: Graph, input: Value): Value {
  const out = new Value(`${input.name}.saved`, input.type);
  const node = new Node({ op: 'Identity', name: out.name, inputs: [input], outputs: [out] });
  node.metadata.set('loraify.rule', 'grad/saved');
  body.append(node);
  return out;
}

/** Fills in trailing outputs that a node leaves out, so that more can follow. */
function fill(node: Node, body: Graph): void {
  const left = node.op === 'Loop' ? body.outputs.slice(1) : body.outputs;
  for (const of of left.slice(node.outputs.length))
    node.replaceOutput(node.outputs.length, new Value(`${of.name}.unread`));
}

/** Does the same as `stack` for a state of a Loop whose shape may change between iterations: `into` is a sequence. */
export function keep(g: Builder, node: Node, body: Graph, input: Value, into: Value): void {
  const { dtype } = input;
  if (dtype === undefined)
    throw unsupportedShape(`the element type of state "${input.name}" is not known`, { node: node.label });
  fill(node, body);
  const states = node.inputs.length - 2;
  const type: ValueType = { kind: 'sequence', elem: tensorType(dtype, undefined) };
  const [before, after] = [new Value(`${input.name}.kept`, type), new Value(`${input.name}.kept.next`, type)];
  const insert = new Node({ op: 'SequenceInsert', name: after.name, inputs: [before, input], outputs: [after] });
  insert.metadata.set('loraify.rule', 'grad/saved');
  body.append(insert);
  body.inputs.push(before);
  body.outputs.splice(1 + states, 0, after);
  node.setInput(node.inputs.length, g.SequenceEmpty({ dtype: dataTypeNumber(dtype) }));
  node.outputs.splice(states, 0, into);
  into.producer = node;
  into.type = type;
}
