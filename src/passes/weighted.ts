/**
 * Finds the weighted products of a model: MatMul and Gemm nodes with a constant matrix on one side, wherever they stand and
 * however the matrix arrives. What is left alone is recorded with the reason.
 */
import type { FunctionDef, Graph, Model, Node, Value } from '../graph/model.ts';
import { attrsOf } from '../graph/operators.ts';
import { isFloat, numbersOf, type Tensor } from '../graph/tensor.ts';

/** A constant matrix as a product reads it, traced to where it is stored. */
export interface WeightView {
  /** The initializer, overridable input, or Constant node's output. */
  readonly stored: Value;
  readonly tensor: Tensor;
  /** The matrix as the product's operand: [rows, cols]. */
  readonly rows: number;
  readonly cols: number;
  /** Row-major over the stored bytes, or the transpose of that. */
  readonly order: 'flat' | 'transposed';
  /** Nodes between the stored value and the operand, stored first. */
  readonly chain: readonly Node[];
}

/** One product with a constant weight. */
export interface Product {
  readonly node: Node;
  /** The graph (main, body, or function body) that holds the node. */
  readonly graph: Graph;
  /** Calls that lead here, outermost first; empty outside functions. */
  readonly calls: readonly Call[];
  /** Position of the weight: the right or the left factor. */
  readonly side: 'right' | 'left';
  readonly weight: WeightView;
  readonly in: number;
  readonly out: number;
  /** How the stored tensor lies, as this product uses it. */
  readonly layout: 'in_out' | 'out_in';
}

export interface Call {
  readonly node: Node;
  readonly fn: FunctionDef;
}

export interface Skipped {
  readonly node: string;
  readonly op: string;
  readonly reason: string;
}

type Traced =
  | { readonly kind: 'weight'; readonly view: WeightView }
  | { readonly kind: 'activation' }
  | { readonly kind: 'unusable'; readonly reason: string };

/** Values of a function body that stand for the caller's: its inputs. */
type Arguments = ReadonlyMap<Value, Value | undefined>;

/** Dims with the stored flat stride of each; unit dims are dropped because they carry no order. */
type Strided = readonly { readonly size: number; readonly stride: number }[];

export interface Found {
  readonly products: readonly Product[];
  readonly skipped: readonly Skipped[];
}

/** All MatMul and Gemm nodes of the model, functions once per chain of calls. */
export function findProducts(model: Model): Found {
  const products: Product[] = [];
  const skipped: Skipped[] = [];
  const functions = new Map(model.functions.map((f) => [functionKey(f), f]));

  const visit = (graph: Graph, calls: readonly Call[], args: Arguments): void => {
    for (const node of graph.nodes) {
      if (isProduct(node)) look(node, graph, calls, args);
      for (const body of node.bodies) visit(body, calls, args);
      const fn = functions.get(functionKey(node));
      // A recursive function is malformed; the model would not load anywhere.
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

  const look = (node: Node, graph: Graph, calls: readonly Call[], args: Arguments): unknown => {
    const skip = (reason: string): number => skipped.push({ node: node.label, op: node.op, reason });
    const [a, b] = [node.inputs[0], node.inputs[1]];
    if (a === undefined || b === undefined) return skip('an operand is missing');
    const [left, right] = [trace(a, args), trace(b, args)];
    if (left.kind !== 'activation' && right.kind !== 'activation')
      return skip('both operands are constants: no input of the model passes through');
    if (left.kind === 'activation' && right.kind === 'activation') return skip('both operands are activations');
    const side = right.kind === 'activation' ? 'left' : 'right';
    const traced = side === 'right' ? right : left;
    if (traced.kind !== 'weight')
      return skip(traced.kind === 'unusable' ? traced.reason : 'both operands are activations');
    return products.push({ node, graph, calls, side, weight: traced.view, ...orientation(node, side, traced.view) });
  };

  visit(model.graph, [], new Map());
  return { products, skipped };
}

export const functionKey = (f: { domain: string; overload: string } & ({ op: string } | { name: string })): string =>
  `${f.domain}\u0000${'op' in f ? f.op : f.name}\u0000${f.overload}`;

/** Operators whose constant operand is a weight that can have an adapter. */
export const layerOperators: ReadonlySet<string> = new Set(['MatMul', 'Gemm']);

export const isProduct = (node: Node): boolean => node.domain === '' && layerOperators.has(node.op);

/** in, out and layout of a weight in its product. */
function orientation(node: Node, side: 'right' | 'left', w: WeightView): Pick<Product, 'in' | 'out' | 'layout'> {
  const { transA, transB } = node.op === 'Gemm' ? attrsOf(node, 'Gemm') : { transA: 0, transB: 0 };
  const flipped = (side === 'right' ? transB : transA) !== 0;
  // A right factor is [in, out]; a left one is [out, in]: y = W·x.
  const rowsAreIn = (side === 'right') !== flipped;
  return {
    in: rowsAreIn ? w.rows : w.cols,
    out: rowsAreIn ? w.cols : w.rows,
    layout: rowsAreIn === (w.order === 'flat') ? 'in_out' : 'out_in',
  };
}

function trace(operand: Value, args: Arguments): Traced {
  const chain: Node[] = [];
  let value = args.get(operand) ?? operand;
  while (
    value.tensor === undefined &&
    value.producer !== undefined &&
    passes.has(value.producer.op) &&
    value.producer.domain === ''
  ) {
    chain.unshift(value.producer);
    const [source] = value.producer.inputs;
    if (source === undefined) return { kind: 'activation' };
    value = args.get(source) ?? source;
  }
  const tensor = constantTensor(value);
  if (tensor === undefined) return { kind: 'activation' };
  const named = `weight "${value.name}"`;
  const last = chain.at(-1)?.outputs[0];
  const quantized = chain.some((n) => n.op === 'DequantizeLinear');
  if (!quantized && !isFloat(tensor.dtype) && !(last?.dtype !== undefined && isFloat(last.dtype)))
    return { kind: 'unusable', reason: `${named} is ${tensor.dtype}, not a floating-point type` };
  let dims: readonly number[] = tensor.dims;
  let order: Strided | undefined = contiguous(dims);
  for (const node of chain) {
    if (node.op === 'Transpose') {
      const { perm } = attrsOf(node, 'Transpose');
      const strides = stridesOf(dims, order);
      if (strides === undefined)
        return {
          kind: 'unusable',
          reason: `${named} arrives through reshapes and transposes that no matrix layout describes`,
        };
      const turn = perm ?? dims.map((_, i) => dims.length - 1 - i);
      order = turn.map((p) => ({ size: dims[p] ?? 1, stride: strides[p] ?? 0 })).filter((d) => d.size !== 1);
      dims = turn.map((p) => dims[p] ?? 1);
    } else if (node.op === 'Reshape') {
      const target = reshapeTarget(node, dims, args);
      if (target === undefined)
        return { kind: 'unusable', reason: `${named} is reshaped to a shape that is computed at run time` };
      if (isContiguous(order)) order = contiguous(target);
      else if (target.filter((d) => d !== 1).join() !== dims.filter((d) => d !== 1).join())
        return {
          kind: 'unusable',
          reason: `${named} arrives through reshapes and transposes that no matrix layout describes`,
        };
      dims = target;
    }
  }
  if (dims.length !== 2) return { kind: 'unusable', reason: `${named} has rank ${dims.length}, not 2` };
  const [rows = 1, cols = 1] = dims;
  if (rows === 0 || cols === 0) return { kind: 'unusable', reason: `${named} is empty` };
  const lies = isContiguous(order) ? 'flat' : 'transposed';
  return { kind: 'weight', view: { stored: value, tensor, rows, cols, order: lies, chain } };
}

/** Operators through which a constant stays the same weight. */
const passes = new Set(['Identity', 'Cast', 'Transpose', 'Reshape', 'DequantizeLinear']);

/** The content of an initializer or of a Constant node's tensor attribute. */
export function constantTensor(value: Value): Tensor | undefined {
  if (value.tensor !== undefined) return value.tensor;
  const node = value.producer;
  if (node?.op !== 'Constant' || node.domain !== '') return undefined;
  const attr = node.attrs.get('value');
  return attr?.kind === 'tensor' ? attr.value : undefined;
}

function contiguous(dims: readonly number[]): Strided {
  let stride = 1;
  return dims
    .toReversed()
    .map((size) => {
      const d = { size, stride };
      stride *= size;
      return d;
    })
    .toReversed()
    .filter((d) => d.size !== 1);
}

const isContiguous = (order: Strided): boolean =>
  order.every((d, i) => d.stride === order.slice(i + 1).reduce((n, e) => n * e.size, 1));

/** The stride of every dim, unit dims included. */
function stridesOf(dims: readonly number[], order: Strided): readonly number[] | undefined {
  const rest = [...order];
  const strides = dims.map((size) => (size === 1 ? 0 : rest.shift()?.stride));
  return strides.every((s) => s !== undefined) ? strides : undefined;
}

function reshapeTarget(node: Node, dims: readonly number[], args: Arguments): readonly number[] | undefined {
  const [, shape] = node.inputs;
  const tensor = shape === undefined ? undefined : constantTensor(args.get(shape) ?? shape);
  const wanted = tensor === undefined ? undefined : numbersOf(tensor);
  if (wanted === undefined) return undefined;
  const { allowzero } = attrsOf(node, 'Reshape');
  const filled = wanted.map((d, i) => (d === 0 && allowzero === 0 ? (dims[i] ?? 0) : d));
  const known = filled.filter((d) => d !== -1).reduce((n, d) => n * d, 1);
  const total = dims.reduce((n, d) => n * d, 1);
  return filled.map((d) => (d === -1 ? (known === 0 ? 0 : total / known) : d));
}
