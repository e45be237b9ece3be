/**
 * Weight-decomposed layers (Liu et al. 2024, https://arxiv.org/abs/2402.09353; peft/tuners/lora/dora.py):
 *
 *   y = m / n · (base + s·branch) + bias, n = ||W + s·A·B|| over the inputs of each output
 *
 * The gradient treats n as a constant (section 4.3 of the paper): A and B pass through `loraify.Detach` nodes, at which
 * the walk stops and which lowering removes. Everything else is plain operators after the node with the branch.
 */

import { badOption } from '../../errors.ts';
import { type Builder, createBuilder } from '../../graph/builder.ts';
import { layerOp, sizeOf } from '../../graph/layers.ts';
import { type Layer, type Node, Value } from '../../graph/model.ts';
import { numberAttr } from '../../graph/operators.ts';
import { type DataType, dataTypeNumber, tensorOf } from '../../graph/tensor.ts';
import { isPacked } from '../common/constantOperand.ts';
import { detach } from '../dialect/detach.ts';
import type { Marked } from '../dialect/layerKind.ts';

export interface Trained {
  readonly a: Value;
  readonly b: Value;
  readonly m: Value;
}

const wholeInstead =
  'leave --dora or the layer out, or adapt the packed module as one layer: name it (qkv_proj, gate_up_proj) in --target';

/** The reason why a layer cannot be decomposed, or undefined. */
function undecomposable({ product, flip }: Marked): string | undefined {
  if (isPacked(product.weight)) return 'its weight is packed, so no graph can compute the norm of its columns';
  if (product.part !== undefined) return 'its weight is packed with those of other modules';
  if (flip) return 'the model also reads its weight transposed, so its outputs have no single axis';
  if (product.side === 'left' && rankOfResult(product.node) === undefined) return 'the rank of its input is not known';
  return undefined;
}

const rankOfResult = ({ inputs, outputs }: Node): number | undefined =>
  outputs[0]?.shape?.length ?? inputs[1]?.shape?.length;

/**
 * `branch` attaches A and B to the node; it runs on the node without its bias. The result keeps its name. In place.
 * Errors: BAD_OPTION if the layer cannot be decomposed.
 */
export function decompose(node: Node, marked: Marked, trained: Trained, opset: number, branch: () => void): void {
  const { layer, product } = marked;
  const reason = undecomposable(marked);
  if (reason !== undefined)
    throw badOption(
      `layer "${layer.path}" cannot be decomposed: ${reason}`,
      product.part?.aliases === undefined && product.part !== undefined
        ? wholeInstead
        : 'leave --dora or the layer out',
    );
  const [y] = node.outputs;
  const { graph } = node;
  const weight = node.inputs[weightAt(node, product.side)];
  if (y === undefined || graph === undefined || weight === undefined) return;
  const site = { dtype: product.dtype ?? weight.dtype ?? y.dtype ?? 'float32', opset };
  const form = formOf(node, marked);
  const times = numberAttr(node, 'beta') ?? 1;
  const bias = node.inputs[2];
  if (bias !== undefined) {
    node.setInput(2, undefined);
    node.dropInputs(2);
    node.attrs.delete('beta');
  }
  const sum = new Value(`${y.name}.undirected`, y.type);
  node.replaceOutput(0, sum);
  branch();
  const behind = sum.producer;
  if (behind === undefined) return;
  const made: Node[] = [];
  const g = createBuilder((n) => {
    made.push(n);
  });
  const last = g.within({ origin: `${y.name}.dora`, rule: 'adapt/dora' }, () => {
    const factor = shaped(g, g.Div(trained.m, normOf(g, weight, trained, layer, form, site)), form.lead);
    const wide: DataType = site.dtype === 'float64' ? 'float64' : 'float32';
    const scaled = g.Mul(cast(g, sum, site.dtype, wide), cast(g, factor, 'float32', wide));
    if (bias === undefined) return cast(g, scaled, wide, site.dtype);
    const own = cast(g, shaped(g, bias, form.bias), site.dtype, wide);
    const added = g.Add(scaled, times === 1 ? own : g.Mul(own, scalar(g, wide, times)));
    return cast(g, added, wide, site.dtype);
  }).producer;
  if (last === undefined) return;
  last.replaceOutput(0, y);
  last.name = `${behind.label}.dora`;
  // The loss is chosen among outputs that depend on a layer.
  last.layer = layer;
  graph.insertAfter(behind, ...made);
}

const weightAt = (node: Node, side: 'left' | 'right'): number =>
  layerOp(node.op).form === 'linear' ? (side === 'right' ? 1 : 0) : layerOp(node.op).form === 'conv' ? 1 : 0;

interface Form {
  /** The position of the outputs among the operand's axes: last or first. */
  readonly outputs: 'first' | 'last';
  /** The shape that makes a vector over the outputs broadcast with the result, if [out] itself does not. */
  readonly lead: readonly number[] | undefined;
  /** The same for the bias. */
  readonly bias: readonly number[] | undefined;
}

function formOf(node: Node, { product, layer }: Marked): Form {
  const { form } = layerOp(layer.op);
  if (form === 'embedding') return { outputs: 'last', lead: undefined, bias: undefined };
  if (form === 'conv') {
    const beside = [layer.out, ...(layer.kernel ?? []).map(() => 1)];
    return { outputs: 'first', lead: beside, bias: beside };
  }
  const flipped = (numberAttr(node, product.side === 'right' ? 'transB' : 'transA') ?? 0) !== 0;
  const left = product.side === 'left';
  return {
    outputs: left !== flipped ? 'first' : 'last',
    lead: left && rankOfResult(node) !== 1 ? [layer.out, 1] : undefined,
    bias: undefined,
  };
}

/** The norm of each output's weights [out], float32; it has no gradient. */
function normOf(
  g: Builder,
  weight: Value,
  { a, b }: Trained,
  layer: Layer,
  { outputs }: Form,
  { dtype, opset }: { readonly dtype: DataType; readonly opset: number },
): Value {
  const { kernel, rank, out, scale } = layer;
  const inputs = layer.in * sizeOf(kernel ?? []);
  const [A, B] = [detach(g, a), detach(g, b)];
  const w = cast(g, weight, dtype, 'float32');
  const sum =
    layerOp(layer.op).form === 'conv'
      ? g.Gemm(shaped(g, B, [out, rank]), shaped(g, A, [rank, inputs]), shaped(g, w, [out, inputs]), { alpha: scale })
      : outputs === 'last'
        ? g.Gemm(A, B, w, { alpha: scale })
        : g.Gemm(B, A, w, { alpha: scale, transA: 1, transB: 1 });
  const axis = outputs === 'last' ? 0 : 1;
  // axes became an input in opset 18.
  const [norm] =
    opset >= 18
      ? [g.ReduceL2(sum, ints(g, [axis]), { keepdims: 0 })]
      : g.node({ op: 'ReduceL2', inputs: [sum], attrs: { axes: [axis], keepdims: 0 }, outputs: 1 });
  if (norm === undefined) throw new Error('ReduceL2 has no output');
  return norm;
}

const shaped = (g: Builder, v: Value, shape: readonly number[] | undefined): Value =>
  shape === undefined ? v : g.Reshape(v, ints(g, shape));

/** Functions have no initializers, so constants are nodes. */
const ints = (g: Builder, values: readonly number[]): Value =>
  g.Constant({ value: tensorOf('int64', [values.length], values) });

const scalar = (g: Builder, dtype: DataType, value: number): Value =>
  g.Constant({ value: tensorOf(dtype, [], [value]) });

const cast = (g: Builder, v: Value, from: DataType, to: DataType): Value =>
  from === to ? v : g.Cast(v, { to: dataTypeNumber(to) });
