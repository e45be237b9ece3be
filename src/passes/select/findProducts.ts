/**
 * Finds the uses of constant weights in a model, in all graphs and through all layouts. Skipped nodes are recorded with
 * the reason.
 */
import type { Graph, Model, Node, Value } from '../../graph/model.ts';
import { type Arguments, traceConstant } from '../common/constantOperand.ts';
import type { Call, Product, Skipped } from '../dialect/layerKind.ts';
import { parametersIn } from './foldedUses.ts';
import { kindOf } from './layers/index.ts';
import { moduleOfBias } from './parameterNames.ts';

export interface FoundProducts {
  readonly products: readonly Product[];
  readonly skipped: readonly Skipped[];
}

/** All nodes of the kinds in layers/, with functions visited once per chain of calls. */
export function findProducts(model: Model): FoundProducts {
  const products: Product[] = [];
  const left: Left[] = [];
  const functions = new Map(model.functions.map((f) => [functionKey(f), f]));

  const visit = (graph: Graph, calls: readonly Call[], args: Arguments): void => {
    for (const node of graph.nodes) {
      look(node, graph, calls, args);
      for (const body of node.bodies) visit(body, calls, args);
      const fn = functions.get(functionKey(node));
      // A recursive function is malformed; no loader accepts the model.
      if (fn === undefined || calls.some((c) => c.fn === fn)) continue;
      const inner = new Map<Value, Value | undefined>(
        fn.body.inputs.map((v, i) => {
          const given = node.inputs[i];
          return [v, given === undefined ? undefined : (args.get(given) ?? given)];
        }),
      );
      visit(fn.body, [...calls, { node, fn }], inner);
    }
  };

  const look = (node: Node, graph: Graph, calls: readonly Call[], args: Arguments): void => {
    const found = kindOf(node)?.find(node, (operand) => traceConstant(operand, args));
    if (typeof found === 'string') left.push({ node, graph, calls, args, reason: found });
    else for (const f of [found ?? []].flat()) products.push({ ...f, node, graph, calls });
  };

  visit(model.graph, [], new Map());
  const { more, rest } = usesOnConstants(left, new Set(products.map((p) => p.weight.stored)));
  return {
    products: [...products, ...more],
    skipped: rest.map(({ node, reason }) => ({ node: node.label, op: node.op, reason })),
  };
}

/** A node that reads no weight by itself, with the reason. */
interface Left {
  readonly node: Node;
  readonly graph: Graph;
  readonly calls: readonly Call[];
  readonly args: Arguments;
  readonly reason: string;
}

/**
 * The nodes that apply a weight to a constant, such as DeBERTa's key_proj on its relative positions: the weight is that
 * of another use (`weights`), or has the name of a module's parameter. A layer's branch belongs to all of its uses:
 * without these the gradient would be that of another function.
 */
function usesOnConstants(
  left: readonly Left[],
  weights: ReadonlySet<Value>,
): { readonly more: readonly Product[]; readonly rest: readonly Left[] } {
  const more: Product[] = [];
  const rest: Left[] = [];
  for (const l of left) {
    const { node, graph, calls, args } = l;
    const isWeight = (operand: Value, stored: Value): boolean =>
      weights.has(stored) || isParameter(stored) || (operand === node.inputs[1] && moduleOfBias(node) !== undefined);
    const found = kindOf(node)?.find(node, (operand) => {
      const traced = traceConstant(operand, args);
      return traced.kind === 'weight' && !isWeight(operand, traced.view.stored) ? { kind: 'activation' } : traced;
    });
    if (found === undefined || typeof found === 'string') rest.push(l);
    else for (const f of [found].flat()) more.push({ ...f, node, graph, calls });
  }
  return { more, rest };
}

/** Whether a constant kept a module's name. */
const isParameter = (v: Value): boolean =>
  v.name.endsWith('.weight') || parametersIn(v).some((name) => name.endsWith('.weight'));

export const functionKey = (f: { domain: string; overload: string } & ({ op: string } | { name: string })): string =>
  `${f.domain}\u0000${'op' in f ? f.op : f.name}\u0000${f.overload}`;
