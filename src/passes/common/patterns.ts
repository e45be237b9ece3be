/** Helpers for matching multi-node patterns. */
import type { Graph, Node, Value } from '../../graph/model.ts';
import { numbersOf } from '../../graph/tensor.ts';

/** The producer of a value if it is this standard operator; otherwise undefined. */
export function madeBy(v: Value | undefined, op: string): Node | undefined {
  const node = v?.producer;
  return node?.op === op && node.domain === '' ? node : undefined;
}

/** The value of a rank-0 constant, which changes no shape. */
export const scalarOf = (v: Value | undefined): number | undefined =>
  v?.tensor?.dims.length === 0 ? numbersOf(v.tensor)?.[0] : undefined;

/** The rule that made a node; empty if the node is from the source. */
export const ruleOf = (node: Node | undefined): string => node?.metadata.get('loraify.rule') ?? '';

/** Whether a Transpose swaps its last two axes and no others. */
export function swapsLast({ attrs, inputs: [x] }: Node): boolean {
  const rank = x?.shape?.length;
  const perm = attrs.get('perm');
  if (rank === undefined || rank < 2) return false;
  const wanted = Array.from({ length: rank }, (_, i) => (i === rank - 1 ? rank - 2 : i === rank - 2 ? rank - 1 : i));
  return perm?.kind === 'ints' ? perm.value.map(Number).join() === wanted.join() : rank === 2;
}

/** The only reader of a value if it multiplies or divides it by a scalar constant, and that constant. */
export function factorBehind(y: Value, graph: Graph): { readonly node: Node; readonly by: Value } | undefined {
  const [use, ...more] = y.uses;
  // In a body the constant may belong to the body.
  if (use === undefined || more.length > 0 || graph.outputs.includes(y) || use.node.graph !== graph) return undefined;
  const { op, domain, inputs } = use.node;
  if (domain !== '' || (op !== 'Mul' && (op !== 'Div' || use.index !== 0))) return undefined;
  const by = inputs[1 - use.index];
  return by === undefined || scalarOf(by) === undefined ? undefined : { node: use.node, by };
}
