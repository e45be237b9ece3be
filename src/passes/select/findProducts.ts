/**
 * Finds the uses of constant weights in a model, in all graphs and through all layouts. Skipped nodes are recorded with
 * the reason.
 */
import type { Graph, Model, Node, Value } from '../../graph/model.ts';
import { type Arguments, traceConstant } from '../common/constantOperand.ts';
import type { Call, Product, Skipped } from '../dialect/layerKind.ts';
import { kindOf } from './layers/index.ts';

export interface FoundProducts {
  readonly products: readonly Product[];
  readonly skipped: readonly Skipped[];
}

/** All nodes of the kinds in layers/, with functions visited once per chain of calls. */
export function findProducts(model: Model): FoundProducts {
  const products: Product[] = [];
  const skipped: Skipped[] = [];
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
    if (typeof found === 'string') skipped.push({ node: node.label, op: node.op, reason: found });
    else for (const f of [found ?? []].flat()) products.push({ ...f, node, graph, calls });
  };

  visit(model.graph, [], new Map());
  return { products, skipped };
}

export const functionKey = (f: { domain: string; overload: string } & ({ op: string } | { name: string })): string =>
  `${f.domain}\u0000${'op' in f ? f.op : f.name}\u0000${f.overload}`;
