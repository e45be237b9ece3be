/**
 * `loraify.Branch`: the low-rank branch of a layer whose base stays a separate node. Inputs y (the base's output), x,
 * A, B; attributes those of the base, and `base`, its operator. Output y + scale·branch(x, A, B), where select/layers/
 * defines the branch.
 */
import { badModel } from '../../errors.ts';
import { type Layer, Node, tensorType, Value } from '../../graph/model.ts';
import { internalDomain } from '../common/internalDomain.ts';
import type { Marked } from './layerKind.ts';

export const isBranch = (node: Node): boolean => node.domain === internalDomain && node.op === 'Branch';

export interface BranchForm {
  readonly y: Value;
  readonly x: Value;
  readonly a: Value;
  readonly b: Value;
  readonly layer: Layer;
  /** The base's operator. */
  readonly base: string;
}

export function branchForm(node: Node): BranchForm {
  const [y, x, a, b] = node.inputs;
  const base = node.attrs.get('base');
  const { layer } = node;
  if (y === undefined || x === undefined || a === undefined || b === undefined || layer === undefined)
    throw badModel(`the branch "${node.label}" is incomplete`, { node: node.label });
  return { y, x, a, b, layer, base: base?.kind === 'string' ? new TextDecoder().decode(base.value) : '' };
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
    const branch = new Node({
      op: 'Branch',
      domain: internalDomain,
      name: `${node.label}.lora`,
      inputs: [base, node.inputs[at], a, b],
      outputs: [y],
      attrs: [...node.attrs, ['base', { kind: 'string', value: new TextEncoder().encode(node.op) }]],
    });
    branch.layer = layer;
    graph.insertAfter(node, branch);
  };
