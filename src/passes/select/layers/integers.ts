/**
 * MatMuls with a weight of 8-bit integers, as ONNX Runtime's dynamic quantization writes them: DynamicQuantizeLinear,
 * MatMulInteger, Cast and Mul, or one of the operators that ONNX Runtime fuses these into (ContribOperators.md). The
 * branch reads the activation before it is quantized and is added to the result after it is scaled.
 */
import type { Node, Value } from '../../../graph/model.ts';
import type { Traced } from '../../common/constantOperand.ts';
import { type BranchPlace, putBranch } from '../../dialect/branch.ts';
import { type Found, type LayerKind, overLastAxis } from '../../dialect/layerKind.ts';

/** The constant matrix [in, out] that is the second operand, or the reason why there is none. */
function matrix(node: Node, traceConstant: (operand: Value) => Traced, dtype: Found['dtype']): Found | string {
  const [, b] = node.inputs;
  const traced = b === undefined ? undefined : traceConstant(b);
  if (traced === undefined || traced.kind === 'activation') return 'both operands are activations';
  if (traced.kind === 'unusable') return traced.reason;
  const { view } = traced;
  const [inputs, out, ...more] = view.dims;
  if (inputs === undefined || out === undefined || more.length > 0)
    return `weight "${view.stored.name}" has rank ${view.dims.length}, not 2`;
  return { side: 'right', weight: view, in: inputs, out, layout: view.order === 'flat' ? 'in_out' : 'out_in', dtype };
}

/** The float activation behind a quantizer; undefined if the integers come from elsewhere. */
function unquantized(q: Value | undefined): Value | undefined {
  const from = q?.producer;
  return from?.op === 'DynamicQuantizeLinear' || from?.op === 'QuantizeLinear' ? from.inputs[0] : undefined;
}

/** The only reader of a node's first output, if it is this operator. */
function onlyReader(node: Node, op: string): Node | undefined {
  const [y] = node.outputs;
  const [use, ...more] = y?.uses ?? [];
  return more.length === 0 && use?.node.op === op && use.node.domain === '' ? use.node : undefined;
}

/** The Mul that scales the result of a MatMulInteger. */
function scaled(node: Node): Node | undefined {
  const cast = onlyReader(node, 'Cast');
  return cast === undefined ? undefined : onlyReader(cast, 'Mul');
}

export const matMulInteger: LayerKind = {
  op: 'MatMulInteger',
  domain: '',
  layerOp: 'MatMulInteger',
  find: (node, traceConstant) => {
    const found = matrix(node, traceConstant, unquantized(node.inputs[0])?.dtype ?? 'float32');
    if (typeof found === 'string') return found;
    if (unquantized(node.inputs[0]) === undefined) return 'its activation is not quantized in the graph';
    return scaled(node) === undefined ? 'its result is not scaled by a Cast and a Mul' : found;
  },
  mark: putBranch((node): BranchPlace => ({ x: unquantized(node.inputs[0]), end: scaled(node) ?? node })),
  ...overLastAxis,
};

export const matMulIntegerToFloat: LayerKind = {
  op: 'MatMulIntegerToFloat',
  domain: 'com.microsoft',
  layerOp: 'MatMulIntegerToFloat',
  find: (node, traceConstant) => {
    const found = matrix(node, traceConstant, node.inputs[2]?.dtype ?? 'float32');
    if (typeof found === 'string') return found;
    return unquantized(node.inputs[0]) === undefined ? 'its activation is not quantized in the graph' : found;
  },
  mark: putBranch((node): BranchPlace => ({ x: unquantized(node.inputs[0]), end: node })),
  ...overLastAxis,
};

export const dynamicQuantizeMatMul: LayerKind = {
  op: 'DynamicQuantizeMatMul',
  domain: 'com.microsoft',
  layerOp: 'DynamicQuantizeMatMul',
  find: (node, traceConstant) => matrix(node, traceConstant, node.inputs[2]?.dtype ?? 'float32'),
  mark: putBranch(0),
  ...overLastAxis,
};

/** Operators whose operands and results are all integers: a float branch has no place beside them. */
const integersOnly = (op: string, domain: string, at: number, layerOp: LayerKind['layerOp']): LayerKind => ({
  op,
  domain,
  layerOp,
  find: ({ inputs }, traceConstant) => {
    const weight = inputs[at];
    if (weight === undefined || traceConstant(weight).kind !== 'weight') return 'its weight is computed at run time';
    return 'its result is quantized again: quantize with quant_format=QuantFormat.QDQ, or dynamically, to adapt it';
  },
  mark: () => {
    throw new Error(`${op} has no branch`);
  },
});

export const quantizedResults: readonly LayerKind[] = [
  integersOnly('QLinearMatMul', '', 3, 'MatMul'),
  integersOnly('QGemm', 'com.microsoft', 3, 'Gemm'),
  integersOnly('QLinearConv', '', 3, 'Conv'),
  integersOnly('ConvInteger', '', 1, 'Conv'),
];
