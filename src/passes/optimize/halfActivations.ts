/**
 * Implements `--precision fp16|bf16` on CUDA: activations and gradients are half precision in addition to the frozen
 * weights, from MatMuls with such weights through all operators that do not need float32. This halves the memory that a
 * step reads, writes and keeps.
 *
 * As under torch.autocast these stay float32: the state and the optimizer, the loss, normalizations, the residual
 * stream (values that are summed with a float32 value of the same shape), row factors, sums of whole tensors. A and B
 * are rounded for their MatMuls, which accumulate in float32; their gradients are rounded once, as results of MatMuls.
 */
import { type Builder, createBuilder } from '../../graph/builder.ts';
import { constant, type Graph, Node, readsOf, tensorType, Value } from '../../graph/model.ts';
import type { OpKind } from '../../graph/operatorRow.ts';
import { attrsOf, factsOf, kindOf, opKey } from '../../graph/operators.ts';
import type { HalfType } from '../../graph/rounding.ts';
import { inlineBytes, roundedWithin } from '../../graph/tensor.ts';
import { isBackward } from '../common/forwardNodes.ts';
import { Insertions } from '../common/insertions.ts';
import { axesOf } from '../common/reductionAxes.ts';
import { ruleOf } from '../common/ruleOf.ts';
import { sameShape } from '../common/shapeTools.ts';
import { castTo } from '../precision/missingKernels.ts';
import { storedBehind } from '../precision/storedBehind.ts';

/** The kind of an operator with CUDA kernels of this type (of both half-precision types if none is given). */
function halfKind(node: Node, type?: HalfType): OpKind | undefined {
  const { kind, cudaHalf } = factsOf(node) ?? {};
  return cudaHalf === 'both' || (cudaHalf !== undefined && cudaHalf === type) ? kind : undefined;
}
const isProduct = (node: Node): boolean => halfKind(node) === 'matmul';
const isMoving = (node: Node): boolean => ['view', 'move'].includes(halfKind(node) ?? '');
const ofAnyType = (node: Node): boolean => kindOf(node) === 'shape';

/** The limit for rounded constants and masks: a row of a mask with only minus infinity has no finite softmax. */
const most: Readonly<Record<HalfType, number>> = { float16: 6e4, bfloat16: (2 - 2 ** -7) * 2 ** 127 };

/** In place, bodies included, on a finished graph in its order; the inputs and outputs of every graph stay float32. */
export function halfActivations(graph: Graph, type: HalfType): void {
  for (const own of graph.allGraphs()) smallFirst(own);
  const active = activeValues(graph);
  for (const own of [...graph.allGraphs()]) narrowOne(own, type, own === graph ? (v) => active.has(v) : () => true);
  graph.prune();
}

function narrowOne(graph: Graph, type: HalfType, isActive: (v: Value) => boolean): void {
  const plan = planFor(graph, type, isActive);
  if (plan.computed.size === 0) return;
  const narrowing: Narrowing = {
    graph,
    type,
    plan,
    g: createBuilder(),
    halves: new Map(),
    inserted: new Insertions(),
    outputs: new Set(graph.allGraphs().flatMap((own) => own.outputs)),
  };
  narrowOutputs(narrowing);
  narrowInputs(narrowing);
  narrowing.inserted.apply(graph);
  dropIdleCasts(graph, narrowing.outputs);
}

/** The conversion of one graph from float32 to half precision. */
interface Narrowing {
  readonly graph: Graph;
  readonly type: HalfType;
  readonly plan: Plan;
  readonly g: Builder;
  /** Half-precision values, by the float32 values that they replace. */
  readonly halves: Map<Value, Value>;
  readonly inserted: Insertions;
  /** Outputs of the graph and of bodies in it, which stay float32. */
  readonly outputs: ReadonlySet<Value>;
}

const cast = (g: Builder, from: Value, to: Value, dtype: HalfType | 'float32', rule: string): Node =>
  g.within({ origin: from.name, rule }, () =>
    g.own(new Node({ op: 'Cast', inputs: [from], outputs: [to], attrs: castTo(dtype) })),
  );

/** The node now produces the half value; readers that need float32 get a Cast. */
function narrowOutputs({ graph, type, plan, g, halves, inserted, outputs }: Narrowing): void {
  const at = new Map(graph.nodes.map((n, i) => [n, i]));
  for (const v of plan.values) {
    const all = [...v.uses].filter((u) => !plan.computed.has(u.node));
    const uses = all.filter((u) => !ofAnyType(u.node));
    const isOutput = outputs.has(v);
    const { producer } = v;
    const made = new Value(isOutput ? `${v.name}.${type}` : v.name, tensorType(type, v.shape));
    if (producer === undefined) continue;
    producer.replaceOutput(producer.outputs.indexOf(v), made);
    made.declared = false;
    halves.set(v, made);
    for (const { node, index } of all) if (ofAnyType(node)) node.setInput(index, made);
    if (isOutput) {
      v.producer = undefined;
      inserted.behind(producer, cast(g, made, v, 'float32', 'narrow'));
      continue;
    }
    // The backward gets its own Cast, so that only the half-precision value is kept until then.
    for (const [rule, users] of [
      ['narrow', uses.filter((u) => !isBackward(u.node))],
      ['grad/narrow', uses.filter((u) => isBackward(u.node))],
    ] as const) {
      const [some, ...others] = users.map((u) => holder(u.node, graph));
      if (some === undefined) continue;
      const first = others.reduce((a, b) => ((at.get(b) ?? 0) < (at.get(a) ?? 0) ? b : a), some);
      const wide = new Value(
        `${v.name}.${rule === 'narrow' ? 'float32' : 'float32.again'}`,
        tensorType('float32', v.shape),
      );
      inserted.before(first, cast(g, made, wide, 'float32', rule));
      for (const { node, index } of users) node.setInput(index, wide);
    }
  }
}

/** Nodes that compute in half precision read float32 inputs through a Cast. */
function narrowInputs(narrowing: Narrowing): void {
  for (const node of narrowing.graph.nodes) {
    if (!narrowing.plan.computed.has(node)) continue;
    node.inputs.forEach((v, i) => {
      if (v?.dtype === 'float32' && !(node.op === 'Where' && i === 0)) node.setInput(i, halfOf(narrowing, v));
    });
  }
}

/** v in half precision: the node's own output, the stored weight, a rounded constant, or a Cast behind its producer. */
function halfOf({ graph, type, plan, g, halves, inserted }: Narrowing, v: Value): Value {
  const known = halves.get(v) ?? storedBehind(v);
  if (known !== undefined) return known;
  if (v.tensor !== undefined) {
    const made = constant(`${v.name}.${type}`, roundedWithin(v.tensor, type, v.name, most[type]));
    halves.set(v, made);
    return made;
  }
  const made = new Value(`${v.name}.${type}`, tensorType(type, v.shape));
  const producer = v.producer?.graph === graph ? v.producer : undefined;
  let from = v;
  // A mask is an operand of Add.
  if ([...v.uses].some((u) => u.node.op === 'Add' && plan.computed.has(u.node))) {
    from = new Value(`${v.name}.clipped`, v.type);
    const bounds = [-most[type], most[type]].map((x) => g.float(x));
    const clip = new Node({ op: 'Clip', inputs: [v, ...bounds], outputs: [from] });
    inserted.behind(
      producer,
      g.within({ origin: v.name, rule: 'narrow' }, () => g.own(clip)),
    );
  }
  inserted.behind(producer, cast(g, from, made, type, 'narrow'));
  halves.set(v, made);
  return made;
}

/** Removes unused Casts of weights that are now read as stored. */
function dropIdleCasts(graph: Graph, outputs: ReadonlySet<Value>): void {
  const isIdle = (n: Node): boolean => n.op === 'Cast' && n.outputs.every((o) => o.uses.size === 0 && !outputs.has(o));
  graph.removeAll(new Set(graph.nodes.filter(isIdle)));
}

/**
 * Computes x·W + s·(h·B) with the small term first: a Gemm rounds once, after the sum with its C. In the other order, a
 * branch that is still close to zero is less than half a unit of x·W, and would always be rounded away.
 */
function smallFirst(graph: Graph): void {
  for (const node of [...graph.nodes]) {
    const base = node.op === 'Gemm' && node.domain === '' ? node.inputs[2]?.producer : undefined;
    const [y, product] = [node.outputs[0], base?.outputs[0]];
    if (base === undefined || y === undefined || product === undefined || !fromState(node.inputs[1])) continue;
    const plain = base.domain === '' && (base.op === 'MatMul' || base.op === 'Gemm') && base.graph === graph;
    if (!plain || !readsStored(base) || product.uses.size > 1 || graph.outputs.includes(product)) continue;
    const flat = [base.inputs[0], base.inputs[1]].every((v) => v?.shape?.length === 2);
    const { alpha, beta } = base.op === 'Gemm' ? attrsOf(base, 'Gemm') : { alpha: 1, beta: 1 };
    const scaled = alpha !== 1 || beta !== 1;
    if (!flat || scaled) continue;
    node.setInput(2, base.inputs[2]);
    node.replaceOutput(0, product);
    base.op = 'Gemm';
    base.setInput(2, product);
    base.replaceOutput(0, y);
    graph.nodes.splice(graph.nodes.indexOf(base), 1);
    graph.nodes.splice(graph.nodes.indexOf(node) + 1, 0, base);
  }
}

interface Plan {
  /** Nodes that compute in half precision, or move such values. */
  readonly computed: ReadonlySet<Node>;
  /** Their outputs, float32 before. */
  readonly values: ReadonlySet<Value>;
}

function planFor(graph: Graph, type: HalfType, isActive: (v: Value) => boolean): Plan {
  const computed = new Set<Node>();
  const values = new Set<Value>();
  /** Activations that are needed in half precision in any case. */
  const wanted = new Set<Value>();
  for (const node of graph.nodes)
    if (readsStored(node)) for (const v of node.inputs.slice(0, 2)) if (v !== undefined) wanted.add(v);
  const narrowed = (v: Value | undefined): boolean => v !== undefined && values.has(v);
  const site: Site = { type, narrowed, wanted, isActive };
  for (const node of graph.nodes) {
    if (!isFloat32(node) || !fits(node, site)) continue;
    computed.add(node);
    for (const o of node.outputs) if (o.dtype === 'float32') values.add(o);
  }
  // Rounding one step earlier gains nothing if the result is only cast back. A float16-only GELU is kept nevertheless.
  for (const node of graph.nodes.toReversed()) {
    if (!computed.has(node) || halfKind(node) !== 'elementwise') continue;
    const isLast = node.outputs.every((o) => o.uses.size > 0 && [...o.uses].every((u) => !computed.has(u.node)));
    if (!isLast || new Set(node.inputs.filter(narrowed)).size > 1) continue;
    computed.delete(node);
    for (const o of node.outputs) values.delete(o);
  }
  // A and B are cast before the state is split, unless a node reads them in float32.
  for (const node of graph.nodes.toReversed()) {
    if (ruleOf(node) !== 'state/unpack' || !isMoving(node) || !isFloat32(node)) continue;
    const users = node.outputs.flatMap((o) => [...o.uses]);
    if (users.length === 0 || node.outputs.some((o) => graph.outputs.includes(o))) continue;
    if (!users.every((u) => computed.has(u.node) && u.node.graph === graph)) continue;
    computed.add(node);
    for (const o of node.outputs) values.add(o);
  }
  return { computed, values };
}

interface Site {
  readonly type: HalfType;
  readonly narrowed: (v: Value | undefined) => boolean;
  readonly wanted: ReadonlySet<Value>;
  /** Whether a value depends on the state; in a body every value is assumed to. */
  readonly isActive: (v: Value) => boolean;
}

/** Whether this node runs in half precision, given which of its inputs are half. */
function fits(node: Node, { type, narrowed, wanted, isActive }: Site): boolean {
  const key = opKey(node);
  const [a, b, c] = node.inputs;
  const [y] = node.outputs;
  if (isProduct(node)) {
    if (readsStored(node)) return true;
    const kinds = [a, b].map((v, i) => {
      if (v === undefined || narrowed(v) || wanted.has(v)) return 'half';
      return fromState(v) ? 'state' : isNarrower(v, i === 0 ? b : a) ? 'thin' : 'wide';
    });
    const sum = c === undefined || c.tensor !== undefined || narrowed(c);
    return sum && kinds.includes('half') && !kinds.includes('wide');
  }
  if (isMoving(node)) {
    const data = key === 'Concat' ? node.inputs : [a];
    return data.some(narrowed) && data.every((v) => narrowed(v) || v?.tensor !== undefined);
  }
  if (key === 'Softmax') return narrowed(a);
  // Sums of few numbers each: a vector or a scalar may be the sum of a whole tensor.
  if (key === 'ReduceSum') return narrowed(a) && (y?.shape?.length ?? 0) > 1 && axesOf(node) !== undefined;
  if (halfKind(node, type) !== 'elementwise') return false;
  if (ruleOf(node).startsWith('loss/') || ruleOf(node).startsWith('rowFactors')) return false;
  const data = node.inputs.slice(key === 'Where' ? 1 : 0).filter((v) => v !== undefined);
  // A sum with a float32 value of its shape is a residual stream; a factor that does not depend on the state is not.
  const isFactor = (v: Value): boolean => key === 'Mul' && !isActive(v) && sameShape(v.shape, y?.shape);
  return data.some(narrowed) && data.every((v) => narrowed(v) || isMinor(v, y) || isFactor(v));
}

/** A constant, or a broadcast value that is not one number per row: a mask, the angles of a rotary embedding. */
function isMinor(v: Value, y: Value | undefined): boolean {
  const [of, all] = [v.shape, y?.shape];
  const same = sameShape(of, all);
  if (v.tensor !== undefined) return v.tensor.byteLength <= inlineBytes || !same;
  return of !== undefined && all !== undefined && of.length > 0 && !same && of.at(-1) === all.at(-1);
}

/** Whether v has far fewer columns than the other operand, such as h = x·A and dy. */
function isNarrower(v: Value, other: Value | undefined): boolean {
  const [of, beside] = [v, other].map((m) => (m?.shape?.length === 2 ? m.shape[1] : undefined));
  return typeof of === 'number' && typeof beside === 'number' && 4 * of <= beside;
}

/** The values that depend on the state. */
function activeValues(graph: Graph): Set<Value> {
  const active = new Set<Value>();
  for (const node of graph.nodes)
    if (ruleOf(node) === 'state/unpack' || readsOf(node).some((v) => active.has(v)))
      for (const o of node.outputs) active.add(o);
  return active;
}

/** Whether a MatMul reads a weight that is stored in half precision. */
const readsStored = (node: Node): boolean =>
  isProduct(node) && node.inputs.slice(0, 2).some((v) => storedBehind(v) !== undefined);

const isFloat32 = (node: Node): boolean => node.outputs.some((o) => o.dtype === 'float32');

/** Whether a value is A or B, as split from the state. */
const fromState = (v: Value | undefined): boolean => ruleOf(v?.producer) === 'state/unpack';

/** The node itself, or the node of this graph with the body that contains it. */
function holder(node: Node, graph: Graph): Node {
  if (node.graph === graph) return node;
  return graph.nodes.find((n) => n.bodies.some((b) => [...b.allNodes()].includes(node))) ?? node;
}
