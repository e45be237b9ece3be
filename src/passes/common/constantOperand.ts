/** Traces an operator's weight to its initializer, possibly through transposes, reshapes, casts and dequantization. */
import type { Node, Value } from '../../graph/model.ts';
import { attrsOf } from '../../graph/operators.ts';
import { type DataType, dataTypeFromNumber, isFloat, numbersOf, type Tensor } from '../../graph/tensor.ts';

/** A constant operand, traced to where it is stored. */
export interface WeightView {
  /** The initializer, overridable input, or Constant node's output. */
  readonly stored: Value;
  readonly tensor: Tensor;
  /** The dims that the operator sees. */
  readonly dims: readonly number[];
  /** Row-major over the stored bytes, or the transpose of that. */
  readonly order: 'flat' | 'transposed';
  /** Nodes between the stored value and the operand, stored first. */
  readonly chain: readonly Node[];
}

/** The result of tracing an operand. */
export type Traced =
  | { readonly kind: 'weight'; readonly view: WeightView }
  | { readonly kind: 'activation' }
  | { readonly kind: 'unusable'; readonly reason: string };

/** The caller's arguments for the inputs of a function body. */
export type Arguments = ReadonlyMap<Value, Value | undefined>;

/** Dims with the stored flat stride of each; unit dims are dropped because they have no order. */
type Strided = readonly { readonly size: number; readonly stride: number }[];

/** Traces an operand to the constant that it is derived from. */
export function traceConstant(operand: Value, args: Arguments): Traced {
  const chain: Node[] = [];
  let value = args.get(operand) ?? operand;
  while (value.tensor === undefined && value.producer !== undefined && passes(value.producer)) {
    chain.unshift(value.producer);
    const [source] = value.producer.inputs;
    if (source === undefined) return { kind: 'activation' };
    value = args.get(source) ?? source;
  }
  const tensor = constantTensor(value);
  if (tensor === undefined) return { kind: 'activation' };
  const named = `weight "${value.name}"`;
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
  if (dims.includes(0)) return { kind: 'unusable', reason: `${named} is empty` };
  const lies = isContiguous(order) ? 'flat' : 'transposed';
  return { kind: 'weight', view: { stored: value, tensor, dims, order: lies, chain } };
}

/** Whether a node between the stored tensor and the operand dequantizes it. */
const isDequantized = ({ chain }: WeightView): boolean => chain.some((n) => n.op === 'DequantizeLinear');

/** Whether a weight is stored as integers, or dequantized before it is read. */
export const isQuantized = (view: WeightView): boolean => !isFloat(view.tensor.dtype) || isDequantized(view);

/** Whether the operator that reads a weight unpacks it. */
export const isPacked = (view: WeightView): boolean => !isFloat(view.tensor.dtype) && !isDequantized(view);

/** A traced operand that must have a floating-point type and the given rank. */
export function floatOf(traced: Traced, rank: number): Traced {
  if (traced.kind !== 'weight') return traced;
  const { view } = traced;
  const named = `weight "${view.stored.name}"`;
  const dtype = typeOf(view);
  if (!isDequantized(view) && (dtype === undefined || !isFloat(dtype)))
    return { kind: 'unusable', reason: `${named} is ${view.tensor.dtype}, not a floating-point type` };
  if (view.dims.length !== rank)
    return { kind: 'unusable', reason: `${named} has rank ${view.dims.length}, not ${rank}` };
  return traced;
}

/** The element type of a weight at its reader; undefined if only shape inference can determine it. */
export function typeOf({ tensor, chain }: WeightView): DataType | undefined {
  return chain.reduce<DataType | undefined>((dtype, node) => {
    const [out] = node.outputs;
    if (out?.dtype !== undefined) return out.dtype;
    if (node.op === 'Cast') return dataTypeFromNumber(attrsOf(node, 'Cast').to ?? 0);
    let scale = node.inputs[1];
    while (scale?.dtype === undefined && scale?.producer?.op === 'Identity') scale = scale.producer.inputs[0];
    return node.op === 'DequantizeLinear' && scale !== undefined ? scale.dtype : dtype;
  }, tensor.dtype);
}

/**
 * Operators through which a constant is still traced as a weight: those that `trace` has a case for, whatever their
 * kind.
 */
const passing = new Set(['Identity', 'Cast', 'Transpose', 'Reshape', 'DequantizeLinear']);
const passes = ({ op, domain }: Node): boolean =>
  (domain === '' && passing.has(op)) || (domain === 'com.microsoft' && op === 'DequantizeLinear');

/** The content of an initializer or of a Constant node's tensor attribute. */
export function constantTensor(value: Value): Tensor | undefined {
  if (value.tensor !== undefined) return value.tensor;
  const node = value.producer;
  if (node?.op !== 'Constant' || node.domain !== '') return undefined;
  return attrsOf(node, 'Constant').value;
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
