/**
 * Conv of one group, in one to three dimensions: a narrow convolution with the base's kernel, strides, pads and
 * dilations, then a 1x1 convolution (peft/tuners/lora/layer.py, _ConvNd). PEFT leaves the base's dilations out of its
 * branch, though not out of its merge; here both follow the merge.
 */

import type { Node, Value } from '../../../graph/model.ts';
import { attrsOf } from '../../../graph/operators.ts';
import { floatOf, type Traced, typeOf } from '../../common/constantOperand.ts';
import { putBranch } from '../../dialect/branch.ts';
import type { Found, LayerKind } from '../../dialect/layerKind.ts';

export const conv: LayerKind = {
  op: 'Conv',
  layerOp: 'Conv',
  domain: '',
  find,
  drops: true,
  mark: putBranch(0),
  branch: ({ g, node, x, a, b, wide }) => g.Conv(g.Conv(wide(x), a, undefined, windowOf(node)), b),
};

function find(node: Node, traceConstant: (operand: Value) => Traced): Found | string {
  const [x, w] = node.inputs;
  if (x === undefined || w === undefined) return 'an operand is missing';
  const known = traceConstant(w);
  if (known.kind === 'activation') return 'its weight is computed at run time';
  if (traceConstant(x).kind !== 'activation')
    return 'both operands are constants: no input of the model passes through';
  const traced = floatOf(known, known.kind === 'weight' ? known.view.dims.length : 0);
  if (traced.kind !== 'weight')
    return traced.kind === 'unusable' ? traced.reason : 'its weight is computed at run time';
  const { view } = traced;
  const { group } = attrsOf(node, 'Conv');
  if (group !== 1) return `it has ${group} groups: only convolutions of one group can be adapted`;
  const [out = 0, inputs = 0, ...kernel] = view.dims;
  if (kernel.length < 1 || kernel.length > 3) return `its kernel has ${kernel.length} dimensions, not 1 to 3`;
  if (view.order !== 'flat') return `weight "${view.stored.name}" is read transposed`;
  return { side: 'right', weight: view, in: inputs, out, kernel, layout: 'out_in', dtype: typeOf(view) };
}

/** The convolution attributes of the base; the kernel shape is that of A, and there is one group. */
function windowOf(node: Node) {
  const { auto_pad, dilations, pads, strides } = attrsOf(node, 'Conv');
  return { auto_pad, dilations, pads, strides };
}
