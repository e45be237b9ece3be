/** MatMul and Gemm: one `Adapted` node has base and branch, so that training can fuse both. */
import type { Node, Value } from '../../../graph/model.ts';
import { attrsOf } from '../../../graph/operators.ts';
import { dataTypeNumber } from '../../../graph/tensor.ts';
import { floatOf, type Traced, typeOf, type WeightView } from '../../common/constantOperand.ts';
import { internalDomain } from '../../common/internalDomain.ts';
import { putBranch } from '../../dialect/branch.ts';
import { type Found, type LayerKind, type Marked, overLastAxis } from '../../dialect/layerKind.ts';
import { attrEntries } from '../../dialect/nodes.ts';

export const matMul: LayerKind = {
  op: 'MatMul',
  domain: '',
  layerOp: 'MatMul',
  find: (node, traceConstant) => findMatrix(node, traceConstant, { transA: 0, transB: 0 }),
  mark,
  // A part of a packed weight has a branch of its own; that of a whole one is in the Adapted node.
  ...overLastAxis,
};
export const gemm: LayerKind = {
  op: 'Gemm',
  domain: '',
  layerOp: 'Gemm',
  find: (node, traceConstant) => findMatrix(node, traceConstant, attrsOf(node, 'Gemm')),
  mark,
  ...overLastAxis,
};

/** The operands that a MatMul transposes: 1 or 0. */
interface Flags {
  readonly transA: number;
  readonly transB: number;
}

/** The one constant matrix of a MatMul or Gemm. */
export function findMatrix(node: Node, traceConstant: (operand: Value) => Traced, flags: Flags): Found | string {
  const [a, b] = [node.inputs[0], node.inputs[1]];
  if (a === undefined || b === undefined) return 'an operand is missing';
  const [left, right] = [traceConstant(a), traceConstant(b)];
  if (left.kind !== 'activation' && right.kind !== 'activation')
    return 'both operands are constants: no input of the model passes through';
  if (left.kind === 'activation' && right.kind === 'activation') return 'both operands are activations';
  const side = right.kind === 'activation' ? 'left' : 'right';
  const traced = floatOf(side === 'right' ? right : left, 2);
  if (traced.kind !== 'weight') return traced.kind === 'unusable' ? traced.reason : 'both operands are activations';
  const { view } = traced;
  return { side, weight: view, dtype: typeOf(view), ...orientation(flags, side, view) };
}

type Oriented = Pick<Found, 'in' | 'out' | 'layout'>;

/** in, out and layout of a weight in its MatMul. */
function orientation({ transA, transB }: Flags, side: Found['side'], w: WeightView): Oriented {
  const flipped = (side === 'right' ? transB : transA) !== 0;
  // A right operand is [in, out]; a left one is [out, in]: y = W·x.
  const rowsAreIn = (side === 'right') !== flipped;
  const [rows = 1, cols = 1] = w.dims;
  return {
    in: rowsAreIn ? rows : cols,
    out: rowsAreIn ? cols : rows,
    layout: rowsAreIn === (w.order === 'flat') ? 'in_out' : 'out_in',
  };
}

/** Makes the node `loraify.Adapted`, with its attributes in addition to the operator's own. */
function mark(node: Node, marked: Marked, a: Value, b: Value, opset: number): void {
  const {
    product: { side, dtype, part },
    layer,
    flip,
  } = marked;
  if (part !== undefined) {
    putBranch(0)(node, marked, a, b, opset);
    return;
  }
  const [left, right, c] = node.inputs;
  const [x, w] = side === 'right' ? [left, right] : [right, left];
  const attrs = attrEntries('loraify.Adapted', {
    base: node.op,
    side: side === 'right' ? 0 : 1,
    flip: flip ? 1 : 0,
    dtype: dtype && dataTypeNumber(dtype),
  });
  for (const [name, attr] of attrs) node.attrs.set(name, attr);
  node.op = 'Adapted';
  node.domain = internalDomain;
  node.layer = layer;
  node.setInput(0, x);
  node.setInput(1, w);
  node.setInput(2, a);
  node.setInput(3, b);
  if (c !== undefined) node.setInput(4, c);
}
