/**
 * Checks that a model accepts the given dims: an error of the first training step in ONNX Runtime is reported by the
 * compile.
 */

import { badOption } from '../../../errors.ts';
import type { Graph, Node, Value } from '../../../graph/model.ts';
import { attrsOf, factsOf } from '../../../graph/operators.ts';
import { shapeText } from '../../../graph/shapeText.ts';
import { ample, broadcast, numbersIn, smallOf } from '../../normalize/fold/small.ts';
import { axisIn } from '../../shapes/rule.ts';
import { lengthLimits } from '../lengthLimits.ts';
import type { Prepared } from '../prepared.ts';
import type { Resolved } from './resolveLengths.ts';

/** Refuses rows for which a table of the open graph has no entries. Throws BAD_OPTION. */
export function checkLengths({ model: { graph }, bindings }: Prepared, { symbols }: Resolved, option: string): void {
  const limits = lengthLimits(graph, bindings.absent);
  for (const input of graph.inputs)
    for (const { axis, most, table, unless } of limits.get(input.name) ?? []) {
      const length = unless === undefined ? symbols.get(String(input.shape?.[axis])) : undefined;
      if (length !== undefined && length > most)
        throw badOption(
          `${option} does not fit the model: it has positions for ${most} (table "${table}")`,
          'give smaller lengths',
        );
    }
}

/** @param option the option as given by the user. Throws BAD_OPTION, which names the node. */
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
    // An open dim fits every other.
    const known = shapes.map((s) => s.map((d) => (typeof d === 'number' ? d : 1)));
    return broadcast(known) !== undefined ? undefined : `gets ${shapes.map(shapeText).join(' and ')}`;
  }
  return node.op === 'Gather' ? beyond(node) : undefined;
}

/** The reason if a Gather reads beyond the end of a table, such as one of positions. */
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
