/**
 * ONNX Runtime's MatMulNBits: x·Wᵀ with W [N, K] packed in blocks of 4 or 8 bits (ContribOperators.md). The packed
 * weight is kept; the branch is added after the node in float32, as in QLoRA (Dettmers et al. 2023).
 */

import { attrsOf } from '../../../graph/operators.ts';
import { putBranch } from '../../dialect/branch.ts';
import { type LayerKind, overLastAxis } from '../../dialect/layerKind.ts';

export const matMulNBits: LayerKind = {
  op: 'MatMulNBits',
  layerOp: 'MatMulNBits',
  domain: 'com.microsoft',
  find: (node, traceConstant) => {
    const [, packed, scales] = node.inputs;
    const { K, N } = attrsOf(node, 'com.microsoft.MatMulNBits');
    if (packed === undefined || K === undefined || N === undefined) return 'an operand or its size is missing';
    const traced = traceConstant(packed);
    if (traced.kind === 'activation') return 'its weight is computed at run time';
    if (traced.kind === 'unusable') return traced.reason;
    return { side: 'right', weight: traced.view, in: K, out: N, layout: 'out_in', dtype: scales?.dtype };
  },
  mark: putBranch(0),
  ...overLastAxis,
};
