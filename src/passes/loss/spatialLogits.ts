/** Logits of pixels or voxels: [batch, classes, height, width], or with the classes last. */
import type { Value } from '../../graph/model.ts';
import { attrsOf, factsOf } from '../../graph/operators.ts';
import { isAdapted } from '../dialect/adapted.ts';
import { isBranch } from '../dialect/branch.ts';

/** Operators that keep the axes of their first input. */
const sameAxes = new Set(['Resize', 'Identity', 'Cast', 'BatchNormalization', 'InstanceNormalization', 'Slice', 'Pad']);

/**
 * The axis of the classes: that of the channels of a convolution, or the last one of a MatMul, followed through
 * Transposes; else 1, the layout of ONNX.
 */
export function classAxisOf(logits: Value): number {
  let axes = (logits.shape ?? []).map((_, i) => i);
  for (let v: Value | undefined = logits; v !== undefined; ) {
    const node: Value['producer'] = v.producer;
    if (node === undefined) break;
    if (['Conv', 'ConvTranspose'].includes(node.op) || (isBranch(node) && isConv(node.inputs[0])))
      return axes.indexOf(1);
    if (isAdapted(node) || isBranch(node) || ['MatMul', 'Gemm'].includes(node.op)) return axes.indexOf(axes.length - 1);
    if (node.op === 'Transpose') {
      const perm: readonly number[] = attrsOf(node, 'Transpose').perm ?? axes.map((_, i) => axes.length - 1 - i);
      axes = axes.map((a) => perm[a] ?? a);
    } else if (!sameAxes.has(node.op) && !(node.domain === '' && factsOf(node)?.broadcasts === true)) break;
    v = node.inputs.find((x) => x?.tensor === undefined);
  }
  return 1;
}

const isConv = (v: Value | undefined): boolean => ['Conv', 'ConvTranspose'].includes(v?.producer?.op ?? '');
