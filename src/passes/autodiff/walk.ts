/**
 * Reverse-mode differentiation: one walk over the nodes between the loss and the requested values. Accumulation,
 * un-broadcasting, pruning, arity checks, compute types and provenance are implemented here, once for all rules
 * (linearity of the vector-Jacobian product in dy).
 */
import { badModel, LoraifyError, noGradient, unsupportedShape } from '../../errors.ts';
import type { Builder } from '../../graph/builder.ts';
import { capturedBy, type Node, producersOf, readsOf, Value } from '../../graph/model.ts';
import { accumulating, asType, isHalf, isWidened, widened } from '../common/computeType.ts';
import { type GradTools, gradTools } from '../common/shapeTools.ts';
import { isAdapted } from '../dialect/adapted.ts';
import { isBranch } from '../dialect/branch.ts';
import { attrsOf } from '../dialect/nodes.ts';
import { activeValues } from './activity.ts';
import { pending, renamed } from './pending.ts';
import { decomposition, type Gradients, gradRule, type Onward, type RawSite, type Rule, ruleKey } from './rules.ts';

type Tools = Builder & GradTools;

export interface GradientRequest extends Partial<Onward> {
  /** Makes the nodes. With a body's builder only the body is visited. */
  readonly g: Builder;
  /** Outputs, each with its incoming gradient. */
  readonly seeds: readonly (readonly [Value, Value])[];
  /** Values whose gradient is requested. Nodes before them are not visited. */
  readonly wrt: readonly Value[];
}

/**
 * Gradients of sum(seed · output) with respect to `wrt`, as detached values. A value that the outputs do not depend on
 * is absent. Throws NO_GRADIENT if an operator on a path between both has no rule.
 */
export function gradients({ g, seeds, wrt, observer, behind }: GradientRequest): Map<Value, Value> {
  const ends = new Set(wrt);
  const order = between(
    g,
    seeds.map(([v]) => v),
    ends,
  );
  const active = activeValues(order, wrt);
  const sums = new Sums(g);
  for (const [v, dv] of seeds) if (active.has(v)) sums.add(v, dv);

  // One set of tools for all rules; an error names the current node.
  let current: Node | undefined;
  const rankOf = (v: Value): never => {
    const { op, label } = current ?? { op: 'a node', label: v.name };
    throw unsupportedShape(`the gradient of ${op} needs the rank of "${v.name}", which is not known`, { node: label });
  };
  const wide = accumulating(g);
  const tools: Tools = Object.assign({}, wide, gradTools(wide, rankOf));

  for (const node of order.toReversed()) {
    current = node;
    if (endsHere(node, active)) observer?.passed(node, 'stopped');
    if (!node.outputs.some((o) => active.has(o) && !ends.has(o) && sums.has(o))) continue;
    const forward = node.metadata.get('loraify.grad_of') ?? node.label;
    g.within(
      { origin: `grad.${node.outputs[0]?.name ?? node.label}`, rule: `grad/${ruleKey(node)}`, gradOf: forward },
      () => {
        const dys = node.outputs.map((o) => (active.has(o) && !ends.has(o) ? sums.total(o) : undefined));
        const captured = capturedBy(node).filter((v) => active.has(v));
        const xs = [...node.inputs, ...captured];
        const onward = { observer, behind: () => [node, ...wayFrom(node, order, active), ...(behind?.() ?? [])] };
        const dxs = observed(node, xs, onward, () => differentiate(node, dys, { g: tools, active, captured, onward }));
        // An optional input may be left out; its gradient is then undefined.
        const count = dxs.findLastIndex((d) => d !== undefined) + 1;
        if (count > xs.length)
          throw new Error(`the rule of ${ruleKey(node)} gives ${count} gradients for ${xs.length} inputs`);
        xs.forEach((x, i) => {
          const dx = dxs[i];
          if (x === undefined || dx === undefined || !active.has(x)) return;
          const sum = tools.sumTo(dx, x);
          sums.add(x, isHalf(x.dtype) ? asType(g, sum, x.dtype) : sum);
        });
      },
    );
  }
  const result = new Map<Value, Value>();
  for (const v of wrt) {
    const dv = g.within({ origin: `grad.${v.name}`, rule: 'grad/sum' }, () => sums.total(v));
    if (dv !== undefined) result.set(v, dv);
  }
  return result;
}

/** The gradients that reach each value, summed on the first read. */
class Sums {
  readonly #g: Builder;
  readonly #parts = new Map<Value, Value[]>();

  constructor(g: Builder) {
    this.#g = g;
  }

  has(v: Value): boolean {
    return this.#parts.has(v);
  }

  add(to: Value, dv: Value): void {
    const list = this.#parts.get(to);
    if (list === undefined) this.#parts.set(to, [dv]);
    else list.push(dv);
  }

  total(v: Value): Value | undefined {
    const list = this.#parts.get(v);
    if (list === undefined) return undefined;
    const sum = list.reduce((a, b) => this.#g.Add(a, b));
    this.#parts.set(v, [sum]);
    return sum;
  }
}

/** The gradients of `rule`; if it throws and there is an observer, placeholders of the right shapes. */
function observed(
  node: Node,
  inputs: readonly (Value | undefined)[],
  { observer, behind }: Onward,
  rule: () => Gradients,
): Gradients {
  if (observer === undefined) return rule();
  try {
    const found = rule();
    observer.passed(node, gradRule(node) === undefined ? 'decomposition' : 'rule');
    return found;
  } catch (error) {
    if (!(error instanceof LoraifyError)) throw error;
    observer.refused(node, error, behind());
    return inputs.map((x) => (x === undefined ? undefined : standIn(x)));
  }
}

function differentiate(
  node: Node,
  dys: readonly (Value | undefined)[],
  around: Pick<RawSite, 'g' | 'active' | 'captured' | 'onward'>,
): Gradients {
  const rule = gradRule(node) ?? decomposition(node);
  const { onward } = around;
  if (rule === undefined) throw refusal(node, onward);
  const [first] = dys;
  const dy = first ?? node.outputs[0];
  if (dy === undefined) throw badModel(`node "${node.label}" has no output`, { node: node.label });
  if (first === undefined && !rule.many)
    throw noGradient(`${ruleKey(node)} is differentiated through its first output only`, place(onward));
  const later = dys.findIndex((d, i) => i > 0 && d !== undefined);
  if (later > 0 && !rule.many)
    throw noGradient(`output ${later} of ${ruleKey(node)} has no gradient rule`, place(onward));
  const site = { node, inputs: node.inputs, outputs: node.outputs, attrs: node.attrs, dy, dys, ...around };
  if (rule.kind === 'decompose') return throughBody(rule, site);
  return rule.apply(isWidened(node) ? inFloat32(site) : site);
}

/** The rule's view of a node, with half-precision types cast to float32. */
function inFloat32(site: RawSite): RawSite {
  const wide = (v: Value): Value => widened(site.g, v);
  const each = (list: readonly (Value | undefined)[]) => list.map((v) => (v === undefined ? undefined : wide(v)));
  const { inputs, outputs, dy, dys } = site;
  return { ...site, inputs: each(inputs), outputs: outputs.map(wide), dy: wide(dy), dys: each(dys) };
}

/**
 * The gradient of a composite operator: its body is built beside the node, on placeholders for the inputs (in float32,
 * if those are half precision), and differentiated.
 */
function throughBody(rule: Rule, site: RawSite): Gradients {
  const { node, dys, active, onward, g } = site;
  // Placeholders keep the walk inside the body, even if one value feeds two inputs.
  const stands = node.inputs.map((x) => (x === undefined ? undefined : standIn(x)));
  const wide = (v: Value | undefined): Value | undefined => (v === undefined || !isWidened(node) ? v : widened(g, v));
  const body = rule.apply({ ...site, inputs: stands.map(wide) });
  const seeds = dys.flatMap((d, i) => {
    const o = body[i];
    if (d === undefined) return [];
    if (o === undefined) throw noGradient(`output ${i} of ${ruleKey(node)} has no gradient rule`, { node: node.label });
    return [[asType(g, o, d.dtype), d] as const];
  });
  const wrt = node.inputs.flatMap((x, i) => (x !== undefined && active.has(x) ? (stands[i] ?? []) : []));
  const found = gradients({ g, seeds, wrt, behind: onward.behind });
  const real = new Map(stands.flatMap((s, i) => (s === undefined ? [] : [[s, node.inputs[i]] as const])));
  const swapped = new Set<Node>();
  const swap = (v: Value): Value => {
    const todo: Node[] = v.producer === undefined ? [] : [v.producer];
    for (let n = todo.pop(); n !== undefined; n = todo.pop()) {
      if (swapped.has(n) || n.graph !== undefined) continue;
      swapped.add(n);
      // Bodies of a detached node capture placeholders too.
      for (const m of [n, ...n.bodies.flatMap((b) => [...b.allNodes()])])
        m.inputs.forEach((x, i) => {
          if (x !== undefined && real.has(x)) m.setInput(i, real.get(x));
        });
      todo.push(...producersOf(n));
    }
    return real.get(v) ?? v;
  };
  return stands.map((s) => {
    const d = s === undefined ? undefined : found.get(s);
    return d === undefined ? undefined : swap(d);
  });
}

function standIn(x: Value): Value {
  const v = new Value(x.name, x.type);
  v.elements = x.elements;
  return v;
}

/** Nodes of the builder's graph that the outputs need, in topological order, ending at `wrt`. */
function between(g: Builder, outputs: readonly Value[], wrt: ReadonlySet<Value>): Node[] {
  const order: Node[] = [];
  const seen = new Set<Node>();
  const stack: { node: Node; next: number; needs: readonly Node[] }[] = [];
  const open = (v: Value): void => {
    const node = v.producer;
    if (node === undefined || wrt.has(v) || seen.has(node) || !g.owns(node)) return;
    seen.add(node);
    stack.push({ node, next: 0, needs: producersOf(node) });
  };
  for (const v of outputs) {
    open(v);
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const need = top.needs[top.next++];
      if (need === undefined) {
        order.push(top.node);
        stack.pop();
      } else if (!seen.has(need) && g.owns(need) && !need.outputs.every((o) => wrt.has(o))) {
        seen.add(need);
        stack.push({ node: need, next: 0, needs: producersOf(need) });
      }
    }
  }
  return order;
}

/** The node reads active values but has no active output. */
const endsHere = (node: Node, active: ReadonlySet<Value>): boolean =>
  !node.outputs.some((o) => active.has(o)) && node.inputs.some((v) => v !== undefined && active.has(v));

function refusal(node: Node, onward: Onward): Error {
  const key = ruleKey(node);
  const [missing, only] = [pending.get(key), renamed.get(key)];
  const why = missing !== undefined ? `: ${missing}` : only === undefined ? '' : ` except ${only}`;
  return noGradient(`no gradient rule for ${key}${why}`, place(onward));
}

/** The operator in the source: an adapted MatMul is still a MatMul to the user. */
export function opName(node: Node): string {
  if (isAdapted(node)) return attrsOf(node, 'loraify.Adapted').base;
  return isBranch(node) ? attrsOf(node, 'loraify.Branch').base : node.op;
}

/** The nodes through which the results of this one reach the outputs. */
function wayFrom(node: Node, order: readonly Node[], active: ReadonlySet<Value>): Node[] {
  const path: Node[] = [];
  const carried = new Set(node.outputs.filter((o) => active.has(o)));
  for (const n of order.slice(order.indexOf(node) + 1)) {
    if (!readsOf(n).some((v) => carried.has(v)) || !n.outputs.some((o) => active.has(o))) continue;
    path.push(n);
    carried.clear();
    for (const o of n.outputs) carried.add(o);
  }
  return path;
}

/** The place of an error, for the message: the node and the path from it to the loss. */
export function place({ behind }: Onward): { node: string; where: string } {
  const [node, ...rest] = behind();
  const path = rest.map((n) => `${opName(n)} "${n.label}"`);
  const shown = path.length > 6 ? [...path.slice(0, 3), `… ${path.length - 5} more …`, ...path.slice(-2)] : path;
  const first = node === undefined ? [] : [`${opName(node)} "${node.label}"`];
  return { node: node?.label ?? '', where: `on the path to the loss: ${[...first, ...shown].join(' -> ')}` };
}
