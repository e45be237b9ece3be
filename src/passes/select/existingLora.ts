/**
 * LoRA that a file already has: exports of a PEFT model that was not merged, the model builder's `adapter_path`, Olive,
 * and this program's own model.onnx. A branch is found by its form, y = base(x) + s·B(A(x)), whatever the names are;
 * names show what has another form, such as DoRA.
 */
import { type LayerForm, layerOp } from '../../graph/layers.ts';
import { graphsOf, type Model, type Node, type Use, type Value } from '../../graph/model.ts';
import { attrsOf } from '../../graph/operators.ts';
import { elementCount, isFloat, numbersOf } from '../../graph/tensor.ts';
import { constantTensor } from '../common/constantOperand.ts';
import type { Product } from '../dialect/layerKind.ts';
import { findProducts } from './findProducts.ts';
import { layerOpOf } from './layers/index.ts';
import { loraNames } from './loraNames.ts';
import { modulePath } from './modulePaths.ts';
import { parameterNames } from './parameterNames.ts';

/** A branch of the form that can be trained on. */
export interface LoraBranch {
  /** The adapted module, as the file names it. */
  readonly module: string;
  /** The layer, and the factors beside it. */
  readonly base: Product;
  readonly A: Product;
  readonly B: Product;
  /** The factor on B(A(x)). */
  readonly scale: number;
  /** The node that adds both, and which of its inputs is the base. */
  readonly sum: Node;
  readonly keep: number;
}

export interface ExistingLora {
  readonly branches: readonly LoraBranch[];
  /** Nodes that are named as part of a LoRA but are not in a branch, with the reason. */
  readonly others: readonly { readonly node: Node; readonly module: string; readonly reason: string }[];
}

export function findExistingLora(model: Model): ExistingLora {
  const { products } = findProducts(model);
  const names = loraNames(model);
  const parameters = parameterNames(model);
  const byNode = new Map(products.map((p) => [p.node, p]));
  const branches = products.flatMap((B): LoraBranch[] => {
    const found = branchOf(B, byNode);
    if (found === undefined) return [];
    const { base, A } = found;
    const named = [A, B].some((p) => names.moduleOf(p) !== undefined);
    if (!named && A.out >= Math.min(base.in, base.out)) return [];
    return [{ ...found, module: names.moduleOf(A) ?? modulePath(base, { names: parameters }).path }];
  });
  const inside = new Set(branches.flatMap((b) => [b.A.node, b.B.node, b.base.node]));
  const others = products.flatMap((p) => {
    const module = names.moduleOf(p);
    if (module === undefined || inside.has(p.node)) return [];
    return [{ node: p.node, module, reason: names.reasonOf(module, p) }];
  });
  return { branches, others: others.filter((o, i) => others.findIndex((f) => f.node === o.node) === i) };
}

/** The branch that ends with B, if it has the form of one. */
function branchOf(B: Product, products: ReadonlyMap<Node, Product>): Omit<LoraBranch, 'module'> | undefined {
  const inner = B.node.inputs[0];
  if (inner === undefined || B.side !== 'right' || !isPlain(B)) return undefined;
  const into = backward(inner);
  const A = into.value.producer === undefined ? undefined : products.get(into.value.producer);
  if (A === undefined || A.side !== 'right' || A.out !== B.in || !isPlain(A)) return undefined;
  const form = formOf(A);
  if (formOf(B) !== (form === 'conv' ? 'conv' : 'linear')) return undefined;
  if (B.kernel?.some((n) => n !== 1)) return undefined;
  const out = forward(B.node);
  if (out === undefined) return undefined;
  const keep = 1 - out.use.index;
  const base = baseOf(out.use.node.inputs[keep], products, A);
  if (base === undefined || base.calls.length > 0 || fusedBases.has(base.node.op) || alphaOf(base) === 0)
    return undefined;
  // A layer's own factor multiplies its branch as well.
  const scale = (into.factor * out.factor * alphaOf(A) * alphaOf(B)) / alphaOf(base);
  return { base, A, B, scale, sum: out.use.node, keep };
}

/** The layer whose result `v` is, apart from a bias, casts and other branches: it reads what A reads. */
function baseOf(v: Value | undefined, products: ReadonlyMap<Node, Product>, A: Product): Product | undefined {
  let value = v === undefined ? undefined : backward(v, false).value;
  for (let steps = 0; steps < 8 && value?.producer !== undefined; steps++) {
    const node = value.producer;
    const p = products.get(node);
    if (p !== undefined && p !== A)
      return p.in === A.in &&
        p.side === 'right' &&
        formOf(p) === formOf(A) &&
        p.kernel?.join() === A.kernel?.join() &&
        source(p) === source(A)
        ? p
        : undefined;
    if (node.op !== 'Add' || node.domain !== '') return undefined;
    const rest = node.inputs.filter((i) => i !== undefined && constantTensor(i) === undefined);
    // Several branches on one layer: the base is in front of the first Add.
    const before = rest.find((i) => i !== undefined && reaches(i, products, A)) ?? rest[0];
    if (before === undefined) return undefined;
    value = backward(before, false).value;
  }
  return undefined;
}

/** Whether a value is the result of a layer that reads what A reads, or such a result with a bias. */
function reaches(v: Value, products: ReadonlyMap<Node, Product>, A: Product): boolean {
  const node = backward(v, false).value.producer;
  const p = node === undefined ? undefined : products.get(node);
  return p !== undefined ? source(p) === source(A) : node?.op === 'Add';
}

/** The value that a layer reads, apart from casts and dropout. */
function source(p: Product): Value | undefined {
  const x = p.node.inputs[formOf(p) === 'embedding' ? 1 : 0];
  return x === undefined ? undefined : backward(x, false).value;
}

const passing = new Set(['Identity', 'Cast', 'Dropout']);

/** Looks through what does not change a value, and with `scaled` through scalar factors. */
function backward(v: Value, scaled = true): { readonly value: Value; readonly factor: number } {
  let [value, factor] = [v, 1];
  for (let node = value.producer; node !== undefined && node.domain === ''; node = value.producer) {
    const [first] = node.inputs;
    const scalar = scaled ? scalarOf(node) : undefined;
    const next = passing.has(node.op) ? first : scalar?.value;
    if (next === undefined) break;
    value = next;
    factor *= scalar?.factor ?? 1;
  }
  return { value, factor };
}

/** Follows the only reader of a node's result through casts and scalar factors, up to an Add. */
function forward(from: Node): { readonly use: Use; readonly factor: number } | undefined {
  let [node, factor] = [from, 1];
  for (let steps = 0; steps < 8; steps++) {
    const [y] = node.outputs;
    const [use] = y?.uses.size === 1 ? y.uses : [];
    if (use === undefined || use.node.domain !== '') return undefined;
    if (use.node.op === 'Add') {
      const other = use.node.inputs[1 - use.index];
      return other === undefined || constantTensor(other) !== undefined ? undefined : { use, factor };
    }
    const scalar = scalarOf(use.node);
    if (scalar === undefined && !passing.has(use.node.op)) return undefined;
    factor *= scalar?.factor ?? 1;
    node = use.node;
  }
  return undefined;
}

/** A node that multiplies or divides a value by a constant number. */
function scalarOf(node: Node): { readonly value: Value; readonly factor: number } | undefined {
  if ((node.op !== 'Mul' && node.op !== 'Div') || node.domain !== '') return undefined;
  for (const at of node.op === 'Mul' ? [1, 0] : [1]) {
    const [constant, value] = [node.inputs[at], node.inputs[1 - at]];
    const tensor = constant === undefined ? undefined : constantTensor(constant);
    if (tensor === undefined || value === undefined || !isFloat(tensor.dtype) || elementCount(tensor.dims) !== 1)
      continue;
    const [number = 1] = numbersOf(tensor) ?? [];
    return { value, factor: node.op === 'Mul' ? number : 1 / number };
  }
  return undefined;
}

const formOf = ({ node }: Product): LayerForm => layerOp(layerOpOf(node)).form;

/** The operators that a factor can be. */
const plain = new Set(['MatMul', 'Gemm', 'Conv', 'Gather', 'FusedMatMul']);

/** A factor has no bias: LoRA with one (lora_bias) is not a low-rank branch. */
const isPlain = ({ node }: Product): boolean =>
  plain.has(node.op) && ((node.op !== 'Gemm' && node.op !== 'Conv') || node.inputs[2] === undefined);

/** The factor that a node applies to its result; ONNX Runtime's optimizer moves the scale of a branch there. */
function alphaOf({ node }: Product): number {
  if (node.op === 'Gemm') return attrsOf(node, 'Gemm').alpha;
  return node.op === 'FusedMatMul' ? attrsOf(node, 'com.microsoft.FusedMatMul').alpha : 1;
}

/** The operators whose result is more than a layer's: nothing can be added in between. */
const fusedBases = new Set(['FusedGemm', 'FusedConv']);

/** A branch that was taken out of a model. */
export interface LiftedLora {
  readonly branch: LoraBranch;
  /** Nodes that only the branch needed. */
  readonly dead: readonly Node[];
  /** Constants that only the branch needed. */
  readonly weights: readonly Value[];
}

/** Takes branches out of a model: each sum becomes an Identity of its base. In place. */
export function liftLora(model: Model, branches: readonly LoraBranch[]): LiftedLora[] {
  const outputs = new Set(graphsOf(model).flatMap((g) => g.outputs));
  return branches.map((branch) => {
    const { sum, keep } = branch;
    const [base, rest] = [sum.inputs[keep], sum.inputs[1 - keep]];
    sum.op = 'Identity';
    sum.setInput(0, base);
    sum.setInput(1, undefined);
    sum.dropInputs(1);
    const dead: Node[] = [];
    const weights: Value[] = [];
    const todo = [rest];
    for (let v = todo.pop(); v !== undefined || todo.length > 0; v = todo.pop()) {
      if (v === undefined || v.uses.size > 0 || outputs.has(v)) continue;
      const { producer: node, tensor } = v;
      const { graph } = model;
      if (node?.graph !== undefined && node.outputs.every((o) => o.uses.size === 0 && !outputs.has(o))) {
        dead.push(node);
        todo.push(...node.inputs);
        node.graph.remove(node);
      } else if (tensor !== undefined && graph.initializers.includes(v) && !graph.inputs.includes(v)) {
        weights.push(v);
        graph.initializers.splice(graph.initializers.indexOf(v), 1);
      }
    }
    return { branch, dead, weights };
  });
}
