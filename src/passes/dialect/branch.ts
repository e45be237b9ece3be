/** `loraify.Branch`: the low-rank branch of a layer whose base remains a separate node (table.ts). */
import { badModel } from '../../errors.ts';
import { createBuilder } from '../../graph/builder.ts';
import { type Layer, type Node, tensorType, Value } from '../../graph/model.ts';
import type { Marked } from './layerKind.ts';
import { dialectNode, formOf, isA, layerOf } from './nodes.ts';
import { paddedB } from './padded.ts';

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

/** The value that a branch reads, and the node behind which its result is added. */
export interface BranchPlace {
  readonly x: Value | undefined;
  /** The node whose first output is the layer's result: the base itself, or what follows it. */
  readonly end: Node;
}

/**
 * Inserts a Branch after the end of a base. The result keeps its name; the output of the end is renamed. `place` is the
 * input of the base that is x, or a function of the base. The branch of a part adds zeros to the columns of the others.
 */
export const putBranch =
  (place: number | ((base: Node) => BranchPlace)) =>
  (node: Node, { product, layer }: Marked, a: Value, b: Value, opset: number): void => {
    const { x, end } = typeof place === 'number' ? { x: node.inputs[place], end: node } : place(node);
    const [y] = end.outputs;
    const { graph } = end;
    if (y === undefined || graph === undefined) throw badModel(`node "${node.label}" has no output`);
    const base = new Value(`${y.name}.base`, y.type ?? tensorType(product.dtype, undefined));
    end.replaceOutput(0, base);
    const made: Node[] = [];
    const g = createBuilder((n) => {
      made.push(n);
    });
    const wide = g.within({ origin: `${layer.path}.lora`, rule: 'adapt/part' }, () => paddedB(g, b, product, opset));
    const branch = dialectNode(
      'loraify.Branch',
      { base: node.op },
      { name: `${node.label}.lora`, inputs: [base, x, a, wide], outputs: [y] },
    );
    for (const [name, attr] of node.attrs) branch.attrs.set(name, attr);
    branch.layer = layer;
    // Lowering adds the branch right behind its base.
    graph.insertAfter(graph.nodes[graph.nodes.indexOf(node) - 1], ...made);
    graph.insertAfter(end, branch);
  };
