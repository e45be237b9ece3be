/**
 * The element type that a computation runs in. The adapter, gradients of A and B, reductions and most gradient rules
 * run in float32 whatever the model's type (the design of torch.autocast, and of PEFT with autocast_adapter_dtype);
 * values passed to the model's own operators have the model's type again.
 */
import type { Builder } from '../../graph/builder.ts';
import type { Node, Value } from '../../graph/model.ts';
import { type DataType, dataTypeNumber, inlineBytes, numbersOf } from '../../graph/tensor.ts';

/** Whether a type is a half-precision type. */
export const isHalf = (dtype: DataType | undefined): boolean => dtype === 'float16' || dtype === 'bfloat16';

/** v cast to this type; v itself if it has the type, or if it is not known to differ. */
export function asType(g: Builder, v: Value, dtype: DataType | undefined): Value {
  return dtype === undefined || v.dtype === undefined || v.dtype === dtype
    ? v
    : g.Cast(v, { to: dataTypeNumber(dtype) });
}

/**
 * v in float32 if it is half precision. A value that a gradient rule has just narrowed is taken from before the cast,
 * and a small constant stays a constant, so that rules see its content.
 */
export function widened(g: Builder, v: Value): Value {
  if (!isHalf(v.dtype)) return v;
  const { tensor } = v;
  const known = tensor === undefined || tensor.byteLength > inlineBytes ? undefined : numbersOf(tensor);
  if (tensor !== undefined && known !== undefined) return g.constant('float32', tensor.dims, known);
  const before = narrowedFrom(v);
  return before?.dtype === 'float32' ? before : g.Cast(v, { to: dataTypeNumber('float32') });
}

/** The value before a narrowing cast that the compiler made; casts of the model do not count. */
function narrowedFrom({ producer }: Value): Value | undefined {
  if (producer?.op !== 'Cast' || producer.domain !== '') return undefined;
  const rule = producer.metadata.get('loraify.rule');
  return rule?.startsWith('grad/') === true || rule?.startsWith('loss/') === true ? producer.inputs[0] : undefined;
}

/**
 * The same operators, with sums and means over half-precision types computed in float32, so that many small terms
 * neither vanish nor overflow.
 */
export function accumulating(g: Builder): Builder {
  const wide =
    <R extends readonly unknown[]>(reduce: (x: Value, ...rest: R) => Value) =>
    (x: Value, ...rest: R): Value =>
      asType(g, reduce(widened(g, x), ...rest), x.dtype);
  return { ...g, ReduceSum: wide(g.ReduceSum), ReduceMean: wide(g.ReduceMean) };
}

/**
 * Operators whose gradient rule stays in the model's type: the rule moves elements, or rounds once as the forward did,
 * or is a MatMul or convolution, whose kernels accumulate in float32, or has a body, whose nodes have their own rules.
 * All other rules, new ones too, compute in float32.
 */
const inOwnType = new Set(
  (
    'Identity Reshape Flatten Squeeze Unsqueeze Transpose Expand Concat Split Slice Tile Trilu SpaceToDepth DepthToSpace ' +
    'ReverseSequence CenterCropPad If Loop Scan Where Relu LeakyRelu Dropout Cast CastLike Add Sub Neg Mul Div Sum Abs Clip Exp ' +
    'MatMul Gemm Conv ConvTranspose loraify.Adapted loraify.Dropout com.microsoft.FusedMatMul com.microsoft.MatMulNBits'
  ).split(' '),
);

/** Whether the gradient rule of this node computes in float32 if the node has half-precision types. */
export const isWidened = ({ op, domain }: Node): boolean => !inOwnType.has(domain === '' ? op : `${domain}.${op}`);

/**
 * lhs·rhs of an adapter (alpha and flags as in Gemm) plus a base of the model's type, summed in the wider of both
 * types, as in PEFT; the result has the base's type.
 */
export function besideBase(
  g: Builder,
  lhs: Value,
  rhs: Value,
  base: Value | undefined,
  attrs: { readonly alpha?: number; readonly transB?: number },
): Value {
  if (base === undefined) return g.Gemm(lhs, rhs, undefined, attrs);
  if (base.dtype === 'float64' && lhs.dtype !== 'float64')
    return g.Add(base, asType(g, g.Gemm(lhs, rhs, undefined, attrs), 'float64'));
  return asType(g, g.Gemm(lhs, rhs, asType(g, base, lhs.dtype), attrs), base.dtype);
}

/** A branch and its base, summed in the wider type of both; the result has the base's type. */
export function added(g: Builder, base: Value, branch: Value): Value {
  if (base.dtype === 'float64') return g.Add(base, asType(g, branch, 'float64'));
  return asType(g, g.Add(asType(g, base, branch.dtype), branch), base.dtype);
}
