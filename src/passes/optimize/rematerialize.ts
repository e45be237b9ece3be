/**
 * Rematerialization: the backward recomputes activations instead of keeping them (Chen et al. 2016,
 * https://arxiv.org/abs/1604.06174). A value that can be computed from kept values in one pass over memory is
 * recomputed if that frees enough memory for the time it takes; attention weights, which take five passes and a MatMul,
 * only if they would be gigabytes and most of the kept memory (Dao et al. 2022, https://arxiv.org/abs/2205.14135).
 */
import { type Graph, Node, readsOf, Value } from '../../graph/model.ts';
import { factsOf, kindOf, numberAttr } from '../../graph/operators.ts';
import { dataTypeBits } from '../../graph/tensor.ts';
import { forwardOf } from '../common/forwardNodes.ts';
import { ruleOf } from '../common/ruleOf.ts';
import { evaluate } from '../shapes/dims.ts';

/** The costs of an H100: host time per node, and bytes of memory traffic and TF32 operations per microsecond. */
const device = { node: 9, bytes: 2.4e6, operations: 2e8 };
/** Bytes that must be freed per microsecond: a gigabyte may cost 1.5 ms. */
const worth = 1e9 / 1500;
/** Numbers for dims that the model leaves open: the first axis of an input, and the others. */
export interface Usual {
  readonly batch: number;
  readonly length: number;
}
/** Smaller values are always kept. */
const small = 2 ** 16;
/**
 * Attention weights of less than two gigabytes are kept whatever their share: recomputing them takes time at any
 * length.
 */
const plenty = 2e9;
/** The most nodes of a recipe. */
const depth = 12;

/** In place, on a gradient graph with shapes, in its order. ONNX Runtime must not merge equal nodes again. */
export function rematerialize(graph: Graph, usual: Usual = { batch: 8, length: 512 }): void {
  const forward = forwardOf(graph);
  if (forward === undefined) return;
  const again = chosen(graph, forward, sizes(graph, usual));
  if (again.size > 0) rewrite(graph, forward, again);
}

type Made = Value & { readonly producer: Node };

/** The forward nodes that the backward recomputes. */
function chosen(graph: Graph, forward: ReadonlySet<Node>, bytes: (v: Value) => number): ReadonlySet<Node> {
  const choice = new Choice(graph, forward, bytes);
  const isLarge = (v: Value): boolean => bytes(v) >= small && bytes(v) < Number.POSITIVE_INFINITY;
  for (const v of choice.candidates()) {
    const found = choice.kept.has(v) && isLarge(v) ? choice.recipe(v, isPass) : undefined;
    if (found !== undefined && found.gain >= found.time * worth) choice.take(found);
  }
  const weights = choice.candidates().filter(({ producer }) => producer.op === 'Softmax');
  const attention = choice.total(weights);
  const rest = choice.total([...choice.kept].filter((v) => !(v.producer && isLoss(v.producer)))) - attention;
  if (attention > Math.max(rest, plenty))
    for (const v of weights) {
      const found = choice.recipe(v, (node) => isPass(node) || isScores(node));
      if (found !== undefined) choice.take(found);
    }
  return choice.again;
}

/** The forward values that the backward keeps, and the nodes that it recomputes instead. */
class Choice {
  /** Forward values that the backward reads. */
  readonly kept = new Set<Value>();
  /** Nodes to recompute. */
  readonly again = new Set<Node>();
  /** Values that are kept in any case: outputs, and values that bodies read. */
  readonly #pinned: Set<Value>;
  readonly #graph: Graph;
  readonly #forward: ReadonlySet<Node>;
  readonly #bytes: (v: Value) => number;

  constructor(graph: Graph, forward: ReadonlySet<Node>, bytes: (v: Value) => number) {
    this.#graph = graph;
    this.#forward = forward;
    this.#bytes = bytes;
    this.#pinned = new Set(graph.outputs.map((v) => this.#rootOf(v)));
    for (const node of graph.nodes) {
      if (forward.has(node)) continue;
      for (const v of readsOf(node)) if (this.#isForward(v)) this.kept.add(this.#rootOf(v));
      if (node.bodies.length > 0) for (const v of readsOf(node)) this.#pinned.add(this.#rootOf(v));
    }
  }

  total(list: Iterable<Value>): number {
    return [...list].reduce((n, v) => n + this.#bytes(v), 0);
  }

  /** The kept values that may be recomputed, last first: a value is visited before its inputs. */
  candidates(): Made[] {
    return this.#graph.nodes
      .toReversed()
      .flatMap((n) =>
        n.outputs.filter((v) => this.kept.has(v) && !this.#pinned.has(v)).filter((v) => this.#isForward(v)),
      );
  }

  /**
   * The nodes that recompute a kept value from other kept values, with as many steps back as give the best ratio of
   * memory to time.
   */
  recipe(target: Made, may: (node: Node) => boolean): Recipe | undefined {
    if (!may(target.producer)) return undefined;
    const nodes = new Set<Node>();
    let best: Recipe | undefined;
    let [made, time] = [0, 0];
    for (let next = target; nodes.size < depth; ) {
      nodes.add(next.producer);
      time += timeOf(next.producer, this.#bytes);
      made += this.total(next.producer.outputs.filter((v) => this.kept.has(v)));
      const lacking = this.#missing(nodes, target);
      const gain = made - this.total(lacking);
      if (gain > 0 && gain / time > (best === undefined ? 0 : best.gain / best.time))
        best = { nodes: new Set(nodes), lacking, gain, time };
      const further = [...lacking]
        .filter((v) => this.#isForward(v))
        .filter((v) => !this.#pinned.has(v) && may(v.producer));
      const [largest] = further.sort((v, w) => this.#bytes(w) - this.#bytes(v));
      if (largest === undefined) break;
      next = largest;
    }
    return best;
  }

  take({ nodes, lacking }: Recipe): void {
    for (const v of lacking) this.kept.add(v);
    for (const node of nodes) {
      this.again.add(node);
      for (const v of node.outputs) this.kept.delete(v);
    }
  }

  /** The inputs of `nodes` that are neither kept nor recomputed. */
  #missing(nodes: ReadonlySet<Node>, target: Value): Set<Value> {
    const found = new Set<Value>();
    for (const node of nodes)
      for (const input of node.inputs) {
        const v = input && this.#rootOf(input);
        if (!this.#isForward(v) || nodes.has(v.producer) || this.again.has(v.producer)) continue;
        if ((v === target || !this.kept.has(v)) && this.#bytes(v) >= small) found.add(v);
      }
    return found;
  }

  #isForward(v: Value | undefined): v is Made {
    return v?.producer !== undefined && this.#forward.has(v.producer);
  }

  /** The value that an alias is a view of. */
  #rootOf(v: Value): Value {
    let root = v;
    for (let of = root.producer; of !== undefined && this.#forward.has(of) && isAlias(of); of = root.producer) {
      const [from] = of.inputs;
      if (from === undefined) break;
      root = from;
    }
    return root;
  }
}

interface Recipe {
  readonly nodes: ReadonlySet<Node>;
  /** Values that must be kept in addition. */
  readonly lacking: ReadonlySet<Value>;
  /** Bytes that need not be kept. */
  readonly gain: number;
  /** Microseconds. */
  readonly time: number;
}

/**
 * The bytes of values, with the usual numbers for dims that the graph's inputs leave open; infinite if a dim is
 * unknown.
 */
function sizes(graph: Graph, usual: Usual): (v: Value) => number {
  const lengths = new Map<string, number>();
  for (const { shape } of graph.inputs)
    for (const [i, d] of (shape ?? []).entries())
      if (typeof d === 'string' && !lengths.has(d)) lengths.set(d, i === 0 ? usual.batch : usual.length);
  // A model with one symbol has rows without a sequence.
  if (lengths.size === 1) for (const d of lengths.keys()) lengths.set(d, usual.length);
  const known = new Map<Value, number>();
  return (v) => {
    const found = known.get(v);
    if (found !== undefined) return found;
    const { shape, dtype } = v;
    const count = shape?.reduce<number>((n, d) => n * (evaluate(d, lengths) ?? Number.NaN), 1);
    const made =
      dtype === undefined || count === undefined || Number.isNaN(count)
        ? Number.POSITIVE_INFINITY
        : (count * dataTypeBits(dtype)) / 8;
    known.set(v, made);
    return made;
  };
}

function timeOf(node: Node, bytes: (v: Value) => number): number {
  const outputs = node.outputs.reduce((n, v) => n + bytes(v), 0);
  const inputs = node.inputs.reduce((n, v) => n + (v === undefined ? 0 : bytes(v)), 0);
  const moved = node.op === 'Gather' ? 2 * outputs : inputs + outputs;
  const [y] = node.outputs;
  const elements = y?.dtype === undefined ? 0 : bytes(y) / (dataTypeBits(y.dtype) / 8);
  const operations = kindOf(node) === 'matmul' ? 2 * elements * (innerOf(node) ?? 0) : 0;
  return device.node + Math.max(moved / device.bytes, operations / device.operations);
}

const isAlias = (node: Node): boolean => kindOf(node) === 'view';
const isLoss = (node: Node): boolean => ruleOf(node).startsWith('loss/');

/** Whether a node is one pass over memory. */
function isPass(node: Node): boolean {
  if (node.bodies.length > 0 || isLoss(node)) return false;
  const facts = factsOf(node);
  switch (facts?.kind) {
    case 'matmul':
      return isMerge(node);
    case 'elementwise':
    case 'move':
      return true;
    // Rows of the last axes are still in the cache for the second read; other normalizations take several passes over
    // memory.
    case 'normalization':
      return facts.axis === 'onwards';
    default:
      return false;
  }
}

/** W + s·A·B: its inner dim is so short that it is one pass over W. */
const isMerge = ({ op, inputs: [, , c] }: Node): boolean => op === 'Gemm' && c?.tensor?.dims.length === 2;

/** Whether a node computes attention weights: Softmax, and the MatMul of queries and keys per head. */
function isScores(node: Node): boolean {
  const [, b] = node.inputs;
  if (node.op === 'Softmax' && node.domain === '') return true;
  return kindOf(node) === 'matmul' && b?.tensor === undefined && (b?.shape?.length ?? 0) > 2;
}

/** The inner dim of a MatMul. */
function innerOf(node: Node): number | undefined {
  const inner = node.inputs[0]?.shape?.at(numberAttr(node, 'transA') === 1 ? -2 : -1);
  return typeof inner === 'number' ? inner : undefined;
}

/** Inserts copies of the nodes before their first reader. */
function rewrite(graph: Graph, forward: ReadonlySet<Node>, again: ReadonlySet<Node>): void {
  const copies = new Map<Node, Node>();
  const order: Node[] = [];
  const copyOf = (node: Node): Node => {
    const known = copies.get(node);
    if (known !== undefined) return known;
    const copy = new Node({
      op: node.op,
      domain: node.domain,
      name: `${node.label}.again`,
      inputs: node.inputs.map((v) => late(v)),
      outputs: node.outputs.map((v) => new Value(v.name === '' ? '' : `${v.name}.again`, v.type)),
      attrs: node.attrs,
    });
    copy.metadata.set('loraify.rule', 'again');
    copy.attach(graph);
    order.push(copy);
    copies.set(node, copy);
    return copy;
  };
  /** The value that the backward reads instead of a forward value. */
  const late = (v: Value | undefined): Value | undefined => {
    const made = v?.producer;
    if (v === undefined || made === undefined || !forward.has(made)) return v;
    if (!again.has(made) && !(isAlias(made) && late(made.inputs[0]) !== made.inputs[0])) return v;
    return copyOf(made).outputs[made.outputs.indexOf(v)];
  };
  for (const node of graph.nodes) {
    if (!forward.has(node)) for (const [i, v] of node.inputs.entries()) if (late(v) !== v) node.setInput(i, late(v));
    order.push(node);
  }
  graph.nodes.splice(0, graph.nodes.length, ...order);
}
