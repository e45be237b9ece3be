/**
 * Reports the operators between the adapters and the loss, and how each is differentiated: runs the autodiff walk on a
 * copy of the prepared graph with an observer. An operator that is blocked here would fail a compile; the walk
 * continues with the next.
 */
import type { LoraifyError } from '../../errors.ts';
import type { Node } from '../../graph/model.ts';
import { gradients, opName } from '../autodiff/index.ts';
import { internalDomain } from '../common/internalDomain.ts';
import { isAdapted } from '../dialect/adapted.ts';
import { forward, forwardContext } from './forward.ts';
import type { Prepared } from './prepared.ts';

/** One node on a path from an adapter to the loss. */
export interface Differentiated {
  readonly node: string;
  /**
   * The operator, with its domain if that is not the standard one; `Gelu (written out)` for the nodes that together are
   * a GELU.
   */
  readonly op: string;
  /**
   * The way of differentiation: by its own rule, by a body of simpler operators, with no gradient because the operator
   * stops it, or blocked.
   */
  readonly by: 'rule' | 'decomposition' | 'stopped' | 'blocked';
  /** The layer, if the node is an adapted MatMul. */
  readonly layer?: string;
}

/** The reason why there is no gradient through one node, or, without a node, for the whole model. */
export interface Blocked {
  readonly node?: string;
  readonly op?: string;
  readonly code: string;
  readonly reason: string;
  /** The nodes from this one to the loss. */
  readonly path: readonly string[];
  readonly hint: string;
}

export interface GradientReport {
  /** In the order of the graph. Nodes are those of the normalized graph. */
  readonly nodes: readonly Differentiated[];
  readonly blocked: readonly Blocked[];
  /** Layers that no gradient reaches: the loss does not depend on them, or only through operators that stop it. */
  readonly unreached: readonly string[];
}

export function reportGradients(p: Prepared): GradientReport {
  const c = forwardContext(p);
  const f = forward(c);
  const nodes: Differentiated[] = [];
  const blocked: Blocked[] = [];
  const found = gradients({
    g: c.g,
    seeds: [f.attached.seed],
    wrt: [...f.tensors.values()],
    observer: {
      passed: (node, by) => nodes.push(described(node, by)),
      refused: (node, error, path) => {
        nodes.push(described(node, 'blocked'));
        blocked.push({
          node: node.label,
          op: operator(node),
          ...reasonOf(error),
          path: path.map((n) => `${opName(n)} "${n.label}"`),
        });
      },
    },
  });
  const reached = new Set([...f.tensors].flatMap(([name, v]) => (found.has(v) ? [name] : [])));
  const unreached = p.layout.slots.filter((s) => !reached.has(s.layer.A) && !reached.has(s.layer.B));
  return { nodes: nodes.reverse(), blocked: blocked.reverse(), unreached: unreached.map((s) => s.layer.path) };
}

export const reasonOf = (error: LoraifyError): Pick<Blocked, 'code' | 'reason' | 'hint'> => ({
  code: error.code,
  reason: error.message,
  hint: error.hint,
});

function described(node: Node, by: Differentiated['by']): Differentiated {
  const { label } = node;
  return node.layer === undefined
    ? { node: node.metadata.get('loraify.grad_of') ?? label, op: operator(node), by }
    : { node: label, op: operator(node), by, layer: node.layer.path };
}

function operator(node: Node): string {
  if (isAdapted(node)) return opName(node);
  if (node.domain === internalDomain) return `${node.op} (written out)`;
  return node.domain === '' ? node.op : `${node.domain}.${node.op}`;
}
