/**
 * Rewrites operators of older opsets to their form at the target, so that all later tables have one form. Rules are
 * data (upgrades/): the newest form that a rule still rewrites, and its replacement. A node is rewritten at most once,
 * never a rule's own output.
 */
import { badModel } from '../../errors.ts';
import { attrFrom } from '../../graph/attributes.ts';
import { type Builder, createBuilder } from '../../graph/builder.ts';
import { type Graph, type Int, type Model, Node, Value } from '../../graph/model.ts';
import { operatorRow } from '../../graph/operators.ts';
import { setNodes, standIn } from './splice.ts';

/** Attributes of an old form, by name and kind; the operator table has only the new ones. */
export interface AttrReader {
  int(name: string): number | undefined;
  ints(name: string): number[] | undefined;
  float(name: string): number | undefined;
  floats(name: string): readonly number[] | undefined;
  str(name: string): string | undefined;
  graph(name: string): Graph | undefined;
}

export interface Again {
  readonly op?: string;
  readonly inputs?: readonly (Value | undefined)[];
  readonly outputs?: number;
  /** Attributes to leave out. */
  readonly without?: readonly string[];
  /** Attributes to set. */
  readonly attrs?: Readonly<Record<string, number | string | readonly number[]>>;
}

export interface UpgradeSite {
  readonly node: Node;
  /** The first input. */
  readonly x: Value;
  readonly inputs: readonly (Value | undefined)[];
  readonly attrs: AttrReader;
  /** The opset version that defines the node's form. */
  readonly from: number;
  readonly g: Builder;
  /** The same node with some inputs, outputs or attributes changed. */
  again(change: Again): Value[];
}

export interface Upgrade {
  readonly ops: readonly string[];
  /** The newest opset version whose form this rule rewrites. */
  readonly until: number;
  /** The form is rewritten even if the target opset still has it. */
  readonly always: boolean;
  /** New values of the outputs; undefined if this node can be kept. */
  readonly rewrite: (site: UpgradeSite) => Value | readonly (Value | undefined)[] | undefined;
}

/** Registers a rule for one operator, or several that changed in the same way. */
export function upgrade(
  ops: string | readonly string[],
  when: { readonly until: number; readonly always?: boolean },
  rewrite: Upgrade['rewrite'],
): Upgrade {
  return { ops: typeof ops === 'string' ? [ops] : ops, until: when.until, always: when.always ?? false, rewrite };
}

export interface UpgradePlan {
  readonly rules: readonly Upgrade[];
  /** Opset version of the model's nodes. */
  readonly from: number;
  readonly to: number;
  /** Nodes that came from a function with another opset. */
  readonly versions: ReadonlyMap<Node, number>;
  readonly infer: (node: Node) => void;
}

/** In place; nodes of bodies before the node they belong to. */
export function upgradeModel(model: Model, plan: UpgradePlan): void {
  const g = createBuilder(plan.infer);
  upgradeGraph(model.graph, plan, g);
}

function upgradeGraph(graph: Graph, plan: UpgradePlan, g: Builder): void {
  // In order. Nodes that a rule made are detached until the end, but have their place already.
  const nodes = new Set<Node>();
  let changed = false;
  for (const node of graph.nodes) {
    for (const body of node.bodies) upgradeGraph(body, plan, g);
    const from = plan.versions.get(node) ?? plan.from;
    const rule = node.domain === '' ? ruleFor(node.op, from, plan) : undefined;
    const mark = { origin: node.outputs[0]?.name ?? node.label, rule: `upgrade/${node.op}` };
    const result = rule === undefined ? undefined : g.within(mark, () => rule.rewrite(siteOf(node, from, g)));
    if (result === undefined) {
      plan.infer(node);
      nodes.add(node);
      continue;
    }
    changed = true;
    const made = standIn(node, [result].flat(), nodes);
    const heir = node.outputs[0]?.producer;
    if (heir !== undefined && heir !== node) inherit(heir, node);
    // The node's own values moved to these nodes, and the file may declare their types.
    for (const n of made) if (n.outputs.some((v) => node.outputs.includes(v))) plan.infer(n);
    for (const n of made) nodes.add(n);
  }
  if (changed) setNodes(graph, [...nodes]);
}

/** The rule with the lowest `until` that covers the form: each rule leads to the target's form in one step. */
function ruleFor(op: string, from: number, plan: UpgradePlan): Upgrade | undefined {
  let best: Upgrade | undefined;
  for (const r of plan.rules)
    if (r.ops.includes(op) && from <= r.until && (plan.to > r.until || r.always) && r.until < (best?.until ?? Infinity))
      best = r;
  return best;
}

/** Moves annotations that belong to the place, not to the operator, to the node that now makes the first output. */
function inherit(heir: Node, node: Node): void {
  heir.name = node.name;
  heir.docString = node.docString;
  for (const [k, v] of node.metadata) heir.metadata.set(k, v);
}

function siteOf(node: Node, from: number, g: Builder): UpgradeSite {
  return {
    node,
    from,
    g,
    inputs: node.inputs,
    get x(): Value {
      const x = node.inputs[0];
      if (x === undefined)
        throw badModel(`node "${node.label}" (${node.op}) lacks its first input`, { node: node.label });
      return x;
    },
    attrs: readerOf(node),
    again: (change) => again(node, change, g),
  };
}

function again(node: Node, change: Again, g: Builder): Value[] {
  const op = change.op ?? node.op;
  const attrs = new Map([...node.attrs].filter(([name]) => !(change.without ?? []).includes(name)));
  for (const [name, value] of Object.entries(change.attrs ?? {})) {
    const row = operatorRow(op)?.attrs?.[name];
    const attr = row === undefined ? undefined : attrFrom(row, value);
    if (attr === undefined) throw new Error(`${op} has no attribute ${name}`);
    attrs.set(name, attr);
  }
  const inputs = [...(change.inputs ?? node.inputs)];
  while (inputs.length > 0 && inputs.at(-1) === undefined) inputs.pop();
  const outputs = Array.from({ length: change.outputs ?? node.outputs.length }, () => new Value(''));
  const copy = new Node({ op, inputs, outputs, attrs });
  copy.unknown = node.unknown;
  return g.own(copy).outputs;
}

/** int64 ends such as 2^63-1 mean "to the end", and so does the largest exact number. */
const exact = (i: Int): number => Math.max(-Number.MAX_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, Number(i)));

function readerOf(node: Node): AttrReader {
  const { attrs } = node;
  return {
    int: (name) => {
      const a = attrs.get(name);
      return a?.kind === 'int' ? exact(a.value) : undefined;
    },
    ints: (name) => {
      const a = attrs.get(name);
      return a?.kind === 'ints' ? a.value.map(exact) : undefined;
    },
    float: (name) => {
      const a = attrs.get(name);
      return a?.kind === 'float' ? a.value : undefined;
    },
    floats: (name) => {
      const a = attrs.get(name);
      return a?.kind === 'floats' ? a.value : undefined;
    },
    str: (name) => {
      const a = attrs.get(name);
      return a?.kind === 'string' ? new TextDecoder().decode(a.value) : undefined;
    },
    graph: (name) => {
      const a = attrs.get(name);
      return a?.kind === 'graph' ? a.value : undefined;
    },
  };
}
