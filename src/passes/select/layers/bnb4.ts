/**
 * ONNX Runtime's MatMulBnb4: x·Wᵀ with W [N, K] in blocks of 4-bit floats, as bitsandbytes stores them
 * (ContribOperators.md). The packed weight is kept; the branch is added in float32, as in QLoRA (Dettmers et al. 2023).
 */
import { attrsOf } from '../../../graph/operators.ts';
import { putBranch } from '../../dialect/branch.ts';
import { type LayerKind, overLastAxis } from '../../dialect/layerKind.ts';

export const matMulBnb4: LayerKind = {
  op: 'MatMulBnb4',
  domain: 'com.microsoft',
  layerOp: 'MatMulBnb4',
  find: (node, traceConstant) => {
    const [, packed, absmax] = node.inputs;
    const { K, N, transB } = attrsOf(node, 'com.microsoft.MatMulBnb4');
    if (packed === undefined || K === undefined || N === undefined) return 'an operand or its size is missing';
    const traced = traceConstant(packed);
    if (traced.kind === 'activation') return 'its weight is computed at run time';
    if (traced.kind === 'unusable') return traced.reason;
    if (transB === 0) return 'its packed weight is not transposed (transB = 0)';
    return { side: 'right', weight: traced.view, in: K, out: N, layout: 'out_in', dtype: absmax?.dtype };
  },
  mark: putBranch(0),
  ...overLastAxis,
};
