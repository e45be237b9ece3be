/**
 * ONNX Runtime's Attention, whose weight [in, q + k + v] concatenates those of three modules (ContribOperators.md).
 * Each is a layer: the node is kept, and reads W + scale·A·B in the columns of the layer. x·(W + s·A·B) is PEFT's x·W +
 * s·(x·A)·B.
 */
import { createBuilder } from '../../../graph/builder.ts';
import { packedModules } from '../../../graph/layers.ts';
import type { Node, Value } from '../../../graph/model.ts';
import { attrsOf } from '../../../graph/operators.ts';
import { type DataType, dataTypeNumber } from '../../../graph/tensor.ts';
import { floatOf, type Traced, typeOf } from '../../common/constantOperand.ts';
import type { Found, LayerKind, Marked } from '../../dialect/layerKind.ts';
import { paddedB } from '../../dialect/padded.ts';

export const attention: LayerKind = { op: 'Attention', domain: 'com.microsoft', layerOp: 'Attention', find, mark };

function find(node: Node, traceConstant: (operand: Value) => Traced): readonly Found[] | string {
  const [x, w] = node.inputs;
  if (x === undefined || w === undefined) return 'an operand is missing';
  if (traceConstant(x).kind !== 'activation')
    return 'both operands are constants: no input of the model passes through';
  const traced = floatOf(traceConstant(w), 2);
  if (traced.kind !== 'weight')
    return traced.kind === 'unusable' ? traced.reason : 'its weight is computed at run time';
  const { view } = traced;
  const [inputs = 0, of = 0] = view.dims;
  if (view.order !== 'flat') return `weight "${view.stored.name}" is read transposed`;
  const widths = attrsOf(node, 'com.microsoft.Attention').qkv_hidden_sizes ?? [of / 3, of / 3, of / 3];
  if (widths.length !== 3 || !widths.every(Number.isInteger) || widths.reduce((n, d) => n + d, 0) !== of)
    return `the ${of} columns of its weight are not queries, keys and values of ${widths.join(', ')}`;
  let from = 0;
  return packedModules.map(([name, ...aliases], i): Found => {
    const out = widths[i] ?? 0;
    const part = { name, aliases, from, of };
    from += out;
    return { side: 'right', weight: view, in: inputs, out, layout: 'in_out', dtype: typeOf(view), part };
  });
}

const rule = 'adapt/packed';

/** One Gemm per layer, whose C is the weight or the result of another layer's Gemm. Sums are at least float32. */
function mark(node: Node, { product, layer }: Marked, a: Value, b: Value, opset: number): void {
  const operand = node.inputs[1];
  const { graph } = node;
  const { dtype = 'float32' } = product;
  if (operand === undefined || graph === undefined) return;
  const made: Node[] = [];
  const g = createBuilder((n) => {
    made.push(n);
  });
  const wide: DataType = dtype === 'float64' ? 'float64' : 'float32';
  const cast = (v: Value, from: DataType, to: DataType): Value =>
    from === to ? v : g.Cast(v, { to: dataTypeNumber(to) });
  // The cast back of another layer is redundant.
  const rounded = operand.producer?.op === 'Cast' && isOurs(operand.producer) ? operand.producer : undefined;
  const before = rounded?.inputs[0];
  const weight = g.within({ origin: `${layer.path}.lora`, rule }, () => {
    const factors = [a, paddedB(g, b, product, opset)].map((v) => cast(v, 'float32', wide));
    const [left = a, right = b] = factors;
    const sum = g.Gemm(left, right, before ?? cast(operand, dtype, wide), { alpha: layer.scale });
    // The loss is chosen among outputs that depend on a layer, and reports name the layer.
    if (sum.producer !== undefined) sum.producer.layer = layer;
    return cast(sum, wide, dtype);
  });
  graph.insertAfter(graph.nodes[graph.nodes.indexOf(node) - 1], ...made);
  node.setInput(1, weight);
  if (rounded !== undefined && operand.uses.size === 0) graph.remove(rounded);
}

const isOurs = (node: Node): boolean => node.metadata.get('loraify.rule') === rule;
