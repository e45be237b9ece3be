/**
 * Gather over the rows of a table, which is an embedding: rows of A, times B (peft/tuners/lora/layer.py, Embedding).
 */

import type { Node, Value } from '../../../graph/model.ts';
import { attrsOf } from '../../../graph/operators.ts';
import { isFloat } from '../../../graph/tensor.ts';
import { floatOf, type Traced, typeOf } from '../../common/constantOperand.ts';
import { putBranch } from '../../dialect/branch.ts';
import type { Found, LayerKind } from '../../dialect/layerKind.ts';

export const gather: LayerKind = {
  op: 'Gather',
  layerOp: 'Gather',
  domain: '',
  find,
  mark: putBranch(1),
  branch: ({ g, x, a, b }) => g.MatMul(g.Gather(a, x), b),
};

/** Most Gathers pick from shapes, activations or caches: those are not embeddings, and are not reported. */
function find(node: Node, traceConstant: (operand: Value) => Traced): Found | string | undefined {
  const [table, indices] = node.inputs;
  if (table === undefined || indices === undefined || attrsOf(node, 'Gather').axis !== 0) return undefined;
  const known = traceConstant(table);
  if (known.kind === 'activation' || traceConstant(indices).kind !== 'activation') return undefined;
  const traced = floatOf(known, 2);
  if (traced.kind !== 'weight') return isTable(known) && traced.kind === 'unusable' ? traced.reason : undefined;
  const { view } = traced;
  const [inputs = 0, out = 0] = view.dims;
  const layout = view.order === 'flat' ? 'in_out' : 'out_in';
  return { side: 'right', weight: view, in: inputs, out, layout, dtype: typeOf(view) };
}

const isTable = (t: Traced): boolean =>
  t.kind === 'weight' && t.view.dims.length > 1 && (isFloat(t.view.tensor.dtype) || t.view.chain.length > 0);
