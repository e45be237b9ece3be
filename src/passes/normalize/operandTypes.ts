/** Element types that an operator does not take: ONNX Runtime refuses such a model when it loads it. */
import type { Node, Value } from '../../graph/model.ts';
import { factsOf } from '../../graph/operators.ts';
import { type DataType, isFloat } from '../../graph/tensor.ts';
import { isAdapted } from '../dialect/adapted.ts';

const numbers: readonly DataType[] = ['int32', 'int64', 'uint32', 'uint64'];
const indices: readonly DataType[] = ['int32', 'int64'];

/** Operators that take floats and the wider integers. */
const products = new Set(['MatMul', 'Gemm']);
/** Operators that take floats alone. */
const smooth = new Set([
  ...[
    'Sigmoid',
    'Softmax',
    'LogSoftmax',
    'Tanh',
    'Exp',
    'Log',
    'Erf',
    'Gelu',
    'Sqrt',
    'Softplus',
    'HardSigmoid',
    'Elu',
  ],
  ...['Conv', 'ConvTranspose', 'LayerNormalization', 'BatchNormalization', 'InstanceNormalization', 'AveragePool'],
  ...['GlobalAveragePool', 'Sin', 'Cos', 'Reciprocal', 'Dropout'],
]);
/** The input of an operator that is one type of integer, or a condition. */
const special: ReadonlyMap<string, { readonly at: number; readonly types: readonly DataType[] }> = new Map([
  ['Gather', { at: 1, types: indices }],
  ['GatherElements', { at: 1, types: indices }],
  ['GatherND', { at: 1, types: ['int64'] }],
  ['Reshape', { at: 1, types: ['int64'] }],
  ['Expand', { at: 1, types: ['int64'] }],
  ['Where', { at: 0, types: ['bool'] }],
]);
/** Operators whose operands have one type, beside those that broadcast. */
const alike = new Set([
  ...['MatMul', 'Gemm', 'Conv', 'ConvTranspose', 'Concat'],
  ...['LayerNormalization', 'InstanceNormalization', 'PRelu', 'Clip'],
]);

const named = (v: Value | undefined): string => `"${v?.name}" of type ${v?.dtype}`;

/** The fault of a node in words; undefined if its operands may have their types, as far as these are known. */
export function wrongTypes(node: Node): string | undefined {
  const { op, domain, inputs } = node;
  if (isAdapted(node)) return differing(inputs.slice(0, 2));
  if (domain !== '') return undefined;
  const fits = (v: Value | undefined, takes: (t: DataType) => boolean): boolean =>
    v?.dtype === undefined || takes(v.dtype);
  const wrong = products.has(op)
    ? inputs.find((v) => !fits(v, (t) => isFloat(t) || numbers.includes(t)))
    : smooth.has(op)
      ? inputs.slice(0, 1).find((v) => !fits(v, isFloat))
      : undefined;
  if (wrong !== undefined) return `does not take ${named(wrong)}`;
  const one = special.get(op);
  const operand = one === undefined ? undefined : inputs[one.at];
  if (one !== undefined && !fits(operand, (t) => one.types.includes(t)))
    return `does not take ${named(operand)} in this place, but ${one.types.join(' or ')}`;
  // The exponent of a Pow has a type of its own, and so has the condition of a Where.
  if (!alike.has(op) && (factsOf(node)?.broadcasts !== true || op === 'Pow')) return undefined;
  return differing(op === 'Where' ? inputs.slice(1) : inputs);
}

function differing(operands: readonly (Value | undefined)[]): string | undefined {
  const [first, ...rest] = operands.filter((v) => v?.dtype !== undefined);
  const other = rest.find((v) => v?.dtype !== first?.dtype);
  return other === undefined ? undefined : `has operands of different types: ${named(first)} and ${named(other)}`;
}
