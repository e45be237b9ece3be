/** `loraify.Branch`: the low-rank branch of a layer whose base remains a separate node (table.ts). */
import { badModel } from '../../errors.ts';
import { type Layer, type Node, tensorType, Value } from '../../graph/model.ts';
import type { Marked } from './layerKind.ts';
import { dialectNode, formOf, isA, layerOf } from './nodes.ts';

export const isBranch = (node: Node): boolean => isA(node, 'loraify.Branch');

export interface BranchForm {
  readonly y: Value;
  readonly x: Value;
  readonly a: Value;
  readonly b: Value;
  readonly layer: Layer;
}

export function branchForm(node: Node): BranchForm {
  const [y, x, a, b] = formOf(node, 'loraify.Branch').inputs;
  return { y, x, a, b, layer: layerOf(node) };
}

/**
 * Inserts a Branch after a node whose input `at` is x. The node's result keeps its name; the base's own output is
 * renamed.
 */
export const putBranch =
  (at: number) =>
  (node: Node, { product, layer }: Marked, a: Value, b: Value): void => {
    const [y] = node.outputs;
    const { graph } = node;
    if (y === undefined || graph === undefined) throw badModel(`node "${node.label}" has no output`);
    const base = new Value(`${y.name}.base`, y.type ?? tensorType(product.dtype, undefined));
    node.replaceOutput(0, base);
    const branch = dialectNode(
      'loraify.Branch',
      { base: node.op },
      { name: `${node.label}.lora`, inputs: [base, node.inputs[at], a, b], outputs: [y] },
    );
    for (const [name, attr] of node.attrs) branch.attrs.set(name, attr);
    branch.layer = layer;
    graph.insertAfter(node, branch);
  };
