/** Lengths that a model cannot have: what ONNX Runtime would say in the first step, said in a compile. */
import { badOption } from '../../../errors.ts';
import type { Graph, Node, Value } from '../../../graph/model.ts';
import { attrsOf, factsOf } from '../../../graph/operators.ts';
import { ample, broadcast, numbersIn, smallOf } from '../../normalize/fold/small.ts';
import { axisIn } from '../../shapes/rule.ts';

/** @param option what the user said. Throws BAD_OPTION naming the node. */
export function checkFits(graph: Graph, option: string): void {
  for (const node of graph.nodes) {
    const reason = node.domain === '' ? whyNot(node) : undefined;
    if (reason !== undefined)
      throw badOption(
        `${option} does not fit the model: "${node.label}" (${node.op}) ${reason}`,
        'give smaller lengths',
      );
  }
}

function whyNot(node: Node): string | undefined {
  if (factsOf(node)?.broadcasts === true) {
    const shapes = node.inputs.flatMap((v) => (v?.shape === undefined ? [] : [v.shape]));
    // A length that is open fits whatever it meets.
    const known = shapes.map((s) => s.map((d) => (typeof d === 'number' ? d : 1)));
    return broadcast(known) !== undefined
      ? undefined
      : `gets ${shapes.map((s) => `[${s.map((d) => d ?? '?').join(', ')}]`).join(' and ')}`;
  }
  return node.op === 'Gather' ? beyond(node) : undefined;
}

/** A table of positions that is read behind its end. */
function beyond(node: Node): string | undefined {
  const [table, indices] = node.inputs;
  const rows = lengthOf(table, attrsOf(node, 'Gather').axis);
  const known = smallOf(indices, ample);
  const list = known === undefined ? undefined : numbersIn(known.values);
  const most = list?.reduce((a, b) => Math.max(a, b), -1);
  if (rows === undefined || most === undefined || most < rows) return undefined;
  return `reads entry ${most} of "${table?.name}", which has ${rows}`;
}

function lengthOf(v: Value | undefined, axis: number): number | undefined {
  const d = v?.shape?.[axisIn(axis, v.shape.length) ?? 0];
  return typeof d === 'number' ? d : undefined;
}
