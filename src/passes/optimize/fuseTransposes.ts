/**
 * Transposes and scalar factors inside products. Operands of a matrix product go through Gemm's flags, those of a batched one through
 * FusedMatMul (com.microsoft, with CPU and CUDA kernels): no tensor is turned in memory for a product that can read it as it lies.
 */
import type { Builder } from '../../graph/builder.ts';
import { type Graph, type Node, takePlace, type Value } from '../../graph/model.ts';
import { numberAttr } from '../../graph/operators.ts';
import { factorBehind, scalarOf, swapsLast } from '../common/patterns.ts';
import { sameShape } from '../common/shapeTools.ts';

const contrib = 'com.microsoft';

/** In place; new nodes are detached until `graph.adopt()`. True where the graph needs the com.microsoft domain. */
export function fuseTransposes(graph: Graph, g: Builder): boolean {
  let fused = false;
  const outputs = new Set(graph.outputs);
  const put = (node: Node, made: Value): void => {
    const [old] = node.outputs;
    if (old === undefined) return;
    takePlace(old, made, [graph], '.unfused');
  };
  // From the end: a product that a Transpose stands behind is taken with it.
  for (const node of graph.nodes.toReversed()) {
    // (aᵀ·b)ᵀ = bᵀ·a
    const inner = node.op === 'Transpose' && swapsLast(node) ? node.inputs[0]?.producer : undefined;
    if (inner !== undefined && isMatrixProduct(inner) && alone(inner, outputs)) {
      const [a, b] = [turned(inner.inputs[0]), turned(inner.inputs[1])];
      const made = g.within(from(node), () => product(g, flip(b), flip(a), 1));
      // In its place: a gradient of a weight at the end of the file would keep its activation until then.
      if (made.producer !== undefined) graph.insertAfter(node, made.producer);
      put(node, made);
      continue;
    }
    if (!isProduct(node)) continue;
    const [a, b] = [turned(node.inputs[0]), turned(node.inputs[1])];
    const factor = scaledBehind(node, graph);
    if (a.v === node.inputs[0] && b.v === node.inputs[1] && factor === undefined) continue;
    const made = g.within(from(node), () => product(g, a, b, factor?.value ?? 1));
    fused ||= made.producer?.domain === contrib;
    put(factor?.node ?? node, made);
  }
  return fused;
}

/**
 * A scalar factor on an operand of products only becomes their alpha: the pass over the tensor goes. In place; products without an
 * alpha must have been given one (`fuseTransposes` leaves such MatMuls, which are rewritten here).
 */
export function fuseFactors(graph: Graph): boolean {
  let fused = false;
  const outputs = new Set(graph.outputs);
  for (const node of graph.nodes.toReversed()) {
    const [y] = node.outputs;
    const factor = factorOf(node);
    if (y === undefined || factor === undefined || outputs.has(y) || y.uses.size === 0) continue;
    const uses = [...y.uses];
    if (!uses.every((u) => u.node.graph === graph && u.index < 2 && takesFactor(u.node))) continue;
    // A product that reads it twice would need the square.
    if (new Set(uses.map((u) => u.node)).size < uses.length) continue;
    for (const { node: user, index } of uses) {
      user.setInput(index, factor.v);
      const value = (numberAttr(user, 'alpha') ?? 1) * factor.value;
      if (user.op === 'MatMul') {
        const matrices = user.inputs.every((v) => v?.shape?.length === 2);
        user.op = matrices ? 'Gemm' : 'FusedMatMul';
        user.domain = matrices ? '' : contrib;
        fused ||= !matrices;
      }
      user.attrs.set('alpha', { kind: 'float', value: Math.fround(value) });
    }
  }
  return fused;
}

/** x·c or x/c with a scalar constant c. */
function factorOf({ op, domain, inputs: [a, b] }: Node): { readonly v: Value; readonly value: number } | undefined {
  if (domain !== '' || (op !== 'Mul' && op !== 'Div') || a?.dtype !== 'float32') return undefined;
  for (const [v, c] of op === 'Div'
    ? [[a, b]]
    : [
        [a, b],
        [b, a],
      ]) {
    const value = scalarOf(c);
    if (v !== undefined && v.tensor === undefined && value !== undefined && value !== 0)
      return { v, value: op === 'Mul' ? value : 1 / value };
  }
  return undefined;
}

const takesFactor = (node: Node): boolean =>
  isProduct(node) ||
  (node.op === 'Gemm' && node.domain === '' && node.inputs[0]?.dtype === 'float32') ||
  (node.op === 'FusedMatMul' && node.domain === contrib);

/** A sum of a product and a matrix of its shape: the matrix becomes the C of Gemm. In place. */
export function fuseSums(graph: Graph): void {
  const outputs = new Set(graph.outputs);
  const gone = new Set<Node>();
  const order = new Map(graph.nodes.map((n, i) => [n, i]));
  for (const node of graph.nodes) {
    if (node.op !== 'Add' || node.domain !== '') continue;
    const [sum] = node.outputs;
    for (const i of [1, 0]) {
      const last = node.inputs[i]?.producer;
      const other = node.inputs[1 - i];
      if (last === undefined || !isGemm(last) || !alone(last, outputs) || other === undefined || sum === undefined)
        continue;
      // Where its own C is a product again, that one takes the sum in.
      const inner = last.inputs[2]?.producer;
      const gemm = inner !== undefined && isGemm(inner) && alone(inner, outputs) ? inner : last;
      if (gemm.graph !== graph || last.graph !== graph || gemm.inputs[2] !== undefined) continue;
      if (!sameShape(gemm.outputs[0]?.shape, other.shape)) continue;
      // The other operand must be there when the product runs.
      if (other.producer !== undefined && (order.get(other.producer) ?? Infinity) > (order.get(gemm) ?? 0)) continue;
      node.setInput(i, undefined);
      node.setInput(1 - i, undefined);
      gemm.setInput(2, other);
      last.replaceOutput(0, sum);
      gone.add(node);
      break;
    }
  }
  graph.removeAll(gone);
}

const isGemm = ({ op, domain }: Node): boolean => op === 'Gemm' && domain === '';

interface Operand {
  readonly v: Value;
  readonly trans: number;
}

const flip = ({ v, trans }: Operand): Operand => ({ v, trans: 1 - trans });
const from = (node: Node) => ({ origin: node.outputs[0]?.name ?? node.label, rule: 'fuse/transpose' });

function product(g: Builder, a: Operand, b: Operand, alpha: number): Value {
  const attrs = { alpha: Math.fround(alpha), transA: a.trans, transB: b.trans };
  if (a.v.shape?.length === 2 && b.v.shape?.length === 2) return g.Gemm(a.v, b.v, undefined, attrs);
  const [made] = g.node({ op: 'FusedMatMul', domain: contrib, inputs: [a.v, b.v], attrs, outputs: 1 });
  return made ?? a.v;
}

const isProduct = ({ op, domain, inputs: [a, b] }: Node): boolean =>
  op === 'MatMul' &&
  domain === '' &&
  a?.dtype === 'float32' &&
  (a.shape?.length ?? 0) > 1 &&
  (b?.shape?.length ?? 0) > 1;
const isMatrixProduct = (node: Node): boolean =>
  isProduct(node) && node.inputs[0]?.shape?.length === 2 && node.inputs[1]?.shape?.length === 2;

/** Nothing but one node of the graph reads its result. */
const alone = ({ outputs: [y] }: Node, handedOut: ReadonlySet<Value>): boolean =>
  y !== undefined && y.uses.size === 1 && !handedOut.has(y);

/** The operand behind Transposes of its last two axes. */
function turned(v: Value | undefined): Operand {
  if (v === undefined) throw new Error('a product lacks an operand');
  const [inner] = v.producer?.inputs ?? [];
  return v.producer?.op === 'Transpose' && inner !== undefined && swapsLast(v.producer)
    ? flip(turned(inner))
    : { v, trans: 0 };
}

/** The scalar that the product alone is multiplied with or divided by. */
function scaledBehind({ outputs: [y] }: Node, graph: Graph): { node: Node; value: number } | undefined {
  const found = y && factorBehind(y, graph);
  const value = scalarOf(found?.by);
  if (found === undefined || value === undefined || value === 0) return undefined;
  return { node: found.node, value: found.node.op === 'Mul' ? value : 1 / value };
}
