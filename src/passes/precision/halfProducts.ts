/**
 * Makes MatMuls with half-precision weights compute in that type, between two casts (on CUDA without casts, see
 * optimize/halfActivations.ts):
 *
 *   y = Cast32(Cast16(x)·W16 + b16) + s·(x·A)·B and backwards dx = Cast32(Cast16(dy)·W16ᵀ) + s·(dy·Bᵀ)·Aᵀ
 *
 * The adapter reads x, and returns its gradients, in float32; a MatMul without an adapter is a plain half-precision
 * operator.
 */
import { createBuilder } from '../../graph/builder.ts';
import { constant, type Graph, type Node, replaceValue, type Value } from '../../graph/model.ts';
import type { HalfType } from '../../graph/rounding.ts';
import { rounded } from '../../graph/tensor.ts';
import { asType } from '../common/computeType.ts';
import { rewriteNodes } from '../common/rewriteNodes.ts';
import { isAdapted } from '../dialect/adapted.ts';
import { inferNode } from '../shapes/index.ts';
import { storedBehind } from './storedBehind.ts';

/** In place, on the training form of Adapted nodes; new nodes of the main graph are detached until `graph.adopt()`. */
export function halfProducts(graph: Graph, type: HalfType): void {
  const graphs = [...graph.allGraphs()];
  const biases = new Map<Value, Value>();
  const halfBias = (v: Value): Value => {
    const made = v.tensor && (biases.get(v) ?? constant(`${v.name}.${type}`, rounded(v.tensor, type, v.name)));
    if (made !== undefined) biases.set(v, made);
    return made ?? v;
  };
  for (const node of [...graph.allNodes()]) {
    const w = isAdapted(node) ? storedBehind(node.inputs[1]) : undefined;
    if (w === undefined) continue;
    node.setInput(1, w);
    const c = node.inputs[4];
    if (c?.tensor?.dtype === 'float32' && c.tensor.dims.join() === String(node.layer?.out))
      node.setInput(4, halfBias(c));
  }
  const g = createBuilder(inferNode, graph.inputs);
  const isProduct = (node: Node): boolean =>
    node.domain === '' &&
    (node.op === 'MatMul' || node.op === 'Gemm') &&
    node.inputs.slice(0, 2).some((v) => storedBehind(v) !== undefined);
  rewriteNodes(graph, g, isProduct, (node, own) => {
    const [a, b, c] = node.inputs;
    const [y] = node.outputs;
    if (a === undefined || b === undefined || y === undefined) return;
    const sum = own.within({ origin: y.name, rule: 'half/product' }, () => {
      const half = (v: Value): Value => storedBehind(v) ?? asType(own, v, type);
      const bias = c?.tensor?.dtype === 'float32' ? halfBias(c) : c && half(c);
      const inputs = [half(a), half(b), bias];
      const [product] = own.node({ op: node.op, inputs, attrs: {}, outputs: 1 });
      if (product?.producer === undefined) return y;
      for (const [name, attr] of node.attrs) product.producer.attrs.set(name, attr);
      inferNode(product.producer);
      return asType(own, product, 'float32');
    });
    const { name } = y;
    y.name = `${name}.replaced`;
    sum.name = name;
    replaceValue(y, sum, graphs);
  });
}
