/** Expands an operator into simpler ones, for graphs that do not support it: the body of its gradient decomposition. */
import { unsupportedShape } from '../../errors.ts';
import type { Builder } from '../../graph/builder.ts';
import type { Node, Value } from '../../graph/model.ts';
import { gradTools } from '../common/shapeTools.ts';
import { decomposition } from './rules.ts';

/**
 * The results in the order of the node's outputs; undefined if it has no body, or if shapes are not sufficiently known.
 */
export function writtenOut(node: Node, g: Builder): Value[] | undefined {
  const body = decomposition(node);
  const [dy] = node.outputs;
  if (body === undefined || dy === undefined || node.inputs.some((v) => v !== undefined && v.shape === undefined))
    return undefined;
  const refuse = (v: Value): never => {
    throw unsupportedShape(`the body of ${node.op} needs the rank of "${v.name}"`, { node: node.label });
  };
  const tools = Object.assign({}, g, gradTools(g, refuse));
  const around = { dy, dys: [], captured: [], active: new Set<Value>(), onward: { behind: () => [] } };
  const results = body.apply({
    node,
    inputs: node.inputs,
    outputs: node.outputs,
    attrs: node.attrs,
    g: tools,
    ...around,
  });
  return results.filter((v) => v !== undefined);
}
