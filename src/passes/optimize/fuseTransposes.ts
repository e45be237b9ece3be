/**
 * Fuses Transposes and scalar factors into MatMuls. Matrices use Gemm's flags, batched operands FusedMatMul
 * (com.microsoft, with CPU and CUDA kernels): no tensor is transposed in memory if the MatMul can read it in its stored
 * layout.
 */
import type { Builder } from '../../graph/builder.ts';
import { type Graph, type Node, takePlace, type Value } from '../../graph/model.ts';
import { numberAttr } from '../../graph/operators.ts';
import { factorBehind, swapsLast } from '../common/matMul.ts';
import { any, anything, oneOf, op, scalar, scalarOf, value } from '../common/pattern.ts';
import { pattern } from '../common/patternSearch.ts';
import { sameShape } from '../common/shapeTools.ts';

const contrib = 'com.microsoft';

const operand = value('v', (v) => v.dtype === 'float32' && v.tensor === undefined);
/** v·c or v/c with a scalar constant c. */
const scaled = pattern('scalar factor', oneOf(op.Mul(operand, scalar('times')), op.Div(operand, scalar('over'))));
/** (aᵀ·b)ᵀ */
const transposed = pattern(
  'transpose of a product',
  op
    .Transpose(op.MatMul(any('a'), any('b')).node('product').once)
    .where(({ product }, node) => isMatrixProduct(product) && swapsLast(node)),
);
/** In place; new nodes are detached until `graph.adopt()`. True if the graph needs the com.microsoft domain. */
export function fuseTransposes(graph: Graph, g: Builder): boolean {
  let fused = false;
  const put = (node: Node, made: Value): void => {
    const [old] = node.outputs;
    if (old === undefined) return;
    takePlace(old, made, [graph], '.unfused');
  };
  // In reverse order, so that a Transpose behind a MatMul is fused together with it.
  for (const node of graph.nodes.toReversed()) {
    // (aᵀ·b)ᵀ = bᵀ·a
    const inner = transposed.at(node)?.bound;
    if (inner !== undefined) {
      const [a, b] = [turned(inner.a), turned(inner.b)];
      const made = g.within(from(node), () => product(g, flip(b), flip(a), 1));
      // At the same position: the gradient of a weight at the end of the file would keep its activation until then.
      if (made.producer !== undefined) graph.insertAfter(node, made.producer);
      put(node, made);
      continue;
    }
    if (!isProduct(node)) continue;
    const [a, b] = [turned(node.inputs[0]), turned(node.inputs[1])];
    const factor = scaledBehind(node);
    if (a.v === node.inputs[0] && b.v === node.inputs[1] && factor === undefined) continue;
    const made = g.within(from(node), () => product(g, a, b, factor?.value ?? 1));
    fused ||= made.producer?.domain === contrib;
    put(factor?.node ?? node, made);
  }
  return fused;
}

/**
 * Moves a scalar factor into the alpha of the MatMuls that read it, if nothing else does: this saves a pass over the
 * tensor. In place; a MatMul without an alpha (`fuseTransposes` leaves some) is rewritten here.
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
    // A MatMul that reads it twice would need the square.
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

/** The scaled value and the factor. */
function factorOf(node: Node): { readonly v: Value; readonly value: number } | undefined {
  const { v, times, over = 0 } = scaled.at(node)?.bound ?? {};
  const factor = times ?? 1 / over;
  return v === undefined || factor === 0 || !Number.isFinite(factor) ? undefined : { v, value: factor };
}

const takesFactor = (node: Node): boolean =>
  isProduct(node) ||
  (node.op === 'Gemm' && node.domain === '' && node.inputs[0]?.dtype === 'float32') ||
  (node.op === 'FusedMatMul' && node.domain === contrib);

/** Makes a matrix that is added to a MatMul of its shape the C of Gemm. In place. */
export function fuseSums(graph: Graph): void {
  const gone = new Set<Node>();
  const order = new Map(graph.nodes.map((n, i) => [n, i]));
  const at = (node: Node | undefined): number => (node === undefined ? -1 : (order.get(node) ?? Infinity));
  const gemm = op.Gemm(anything, anything).node('gemm').once;
  // If the C of a Gemm is a Gemm itself, the inner one gets the sum.
  const outer = op.Gemm(anything, anything, gemm).node('last').once;
  // The other operand must be computed before the Gemm runs.
  const sum = op
    .Add(any('other'), oneOf(outer, gemm))
    .where(({ other, gemm }) => sameShape(gemm.outputs[0]?.shape, other.shape) && at(other.producer) < at(gemm));
  for (const { root, bound } of pattern('sum behind Gemm', sum).in(graph)) {
    const { gemm, last = gemm, other } = bound;
    const [y] = root.outputs;
    if (y === undefined) continue;
    root.setInput(0, undefined);
    root.setInput(1, undefined);
    gemm.setInput(2, other);
    last.replaceOutput(0, y);
    gone.add(root);
  }
  graph.removeAll(gone);
}

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

/** The operand before Transposes of its last two axes. */
function turned(v: Value | undefined): Operand {
  if (v === undefined) throw new Error('a product lacks an operand');
  const [inner] = v.producer?.inputs ?? [];
  return v.producer?.op === 'Transpose' && inner !== undefined && swapsLast(v.producer)
    ? flip(turned(inner))
    : { v, trans: 0 };
}

/** The scalar factor or divisor behind a MatMul, if it is the only reader. */
function scaledBehind({ outputs: [y] }: Node): { node: Node; value: number } | undefined {
  const found = y && factorBehind(y);
  const value = scalarOf(found?.bound.by);
  if (found === undefined || value === undefined || value === 0) return undefined;
  return { node: found.root, value: found.root.op === 'Mul' ? value : 1 / value };
}
