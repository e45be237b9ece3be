/**
 * MatMul, Gemm and Conv that ONNX Runtime's optimizer fused with their neighbours (ContribOperators.md). The branch
 * belongs between the two: an adapted node is written as the standard operator again, followed by what was fused.
 * ONNX Runtime fuses the rest when it loads the graph.
 */
import { type Builder, createBuilder } from '../../../graph/builder.ts';
import { type Node, Value } from '../../../graph/model.ts';
import { attrsOf } from '../../../graph/operators.ts';
import { type DataType, tensorOf } from '../../../graph/tensor.ts';
import type { LayerKind } from '../../dialect/layerKind.ts';
import { conv } from './conv.ts';
import { findMatrix, gemm, matMul } from './products.ts';

/** Activations that are one operator: the attributes that their parameters set, in order. */
const activations: Readonly<Record<string, readonly string[]>> = {
  Elu: ['alpha'],
  HardSigmoid: ['alpha', 'beta'],
  LeakyRelu: ['alpha'],
  Relu: [],
  Selu: ['alpha', 'gamma'],
  Sigmoid: [],
  Softplus: [],
  Softsign: [],
  Tanh: [],
  ThresholdedRelu: ['alpha'],
};

/** The reason why an activation is not split off, or undefined. */
const unknownActivation = (op: string, name: string): string | undefined =>
  activations[name] === undefined ? `${op} with the activation "${name}" is not split` : undefined;

/** Inserts what `rest` makes of the node's result behind it. The last value keeps the name of the result. */
function splitOff(node: Node, rule: string, rest: (g: Builder, base: Value) => Value): void {
  const [y] = node.outputs;
  const { graph } = node;
  if (y === undefined || graph === undefined) return;
  const made: Node[] = [];
  const g = createBuilder((n) => {
    made.push(n);
  });
  const base = new Value(`${y.name}.product`, y.type);
  node.replaceOutput(0, base);
  const last = g.within({ origin: y.name, rule }, () => rest(g, base)).producer;
  if (last === undefined) return;
  last.replaceOutput(0, y);
  graph.insertAfter(node, ...made);
}

function activated(g: Builder, x: Value, name: string, parameters: readonly (number | undefined)[]): Value {
  const attrs = Object.fromEntries(
    (activations[name] ?? []).flatMap((attr, i) => (parameters[i] === undefined ? [] : [[attr, parameters[i]]])),
  );
  const [y] = g.node({ op: name, inputs: [x], attrs, outputs: 1 });
  return y ?? x;
}

/** Functions have no initializers, so constants are nodes. */
const scalar = (g: Builder, dtype: DataType, value: number): Value =>
  g.Constant({ value: tensorOf(dtype, [], [value]) });

export const fusedGemm: LayerKind = {
  ...gemm,
  op: 'FusedGemm',
  domain: 'com.microsoft',
  find: (node, traceConstant) => {
    const { activation = '', transA, transB } = attrsOf(node, 'com.microsoft.FusedGemm');
    return unknownActivation('FusedGemm', activation) ?? findMatrix(node, traceConstant, { transA, transB });
  },
  unfuse: (node) => {
    const { activation = '', ...by } = attrsOf(node, 'com.microsoft.FusedGemm');
    const parameters = [by.activation_alpha, by.activation_beta ?? by.activation_gamma];
    for (const name of [...node.attrs.keys()]) if (name.startsWith('activation')) node.attrs.delete(name);
    node.op = 'Gemm';
    node.domain = '';
    splitOff(node, 'adapt/FusedGemm', (g, x) => activated(g, x, activation, parameters));
  },
};

export const fusedConv: LayerKind = {
  ...conv,
  op: 'FusedConv',
  domain: 'com.microsoft',
  find: (node, traceConstant) => {
    const { activation } = attrsOf(node, 'com.microsoft.FusedConv');
    const reason =
      activation === undefined || activation === 'Clip' ? undefined : unknownActivation('FusedConv', activation);
    return reason ?? conv.find(node, traceConstant);
  },
  unfuse: (node, dtype) => {
    const { activation, activation_params: by = [] } = attrsOf(node, 'com.microsoft.FusedConv');
    const added = node.inputs[3];
    if (added !== undefined) node.dropInputs(3);
    node.attrs.delete('activation');
    node.attrs.delete('activation_params');
    node.op = 'Conv';
    node.domain = '';
    if (added === undefined && activation === undefined) return;
    splitOff(node, 'adapt/FusedConv', (g, x) => {
      const sum = added === undefined ? x : g.Add(x, added);
      if (activation === undefined) return sum;
      if (activation !== 'Clip') return activated(g, sum, activation, by);
      const [low = 0, high = 0] = by;
      return g.Clip(sum, scalar(g, dtype, low), scalar(g, dtype, high));
    });
  },
};

export const fusedMatMul: LayerKind = {
  ...matMul,
  op: 'FusedMatMul',
  domain: 'com.microsoft',
  find: (node, traceConstant) => {
    const { transA, transB, transBatchA, transBatchB } = attrsOf(node, 'com.microsoft.FusedMatMul');
    const found = findMatrix(node, traceConstant, { transA, transB });
    if (typeof found === 'string') return found;
    if (transBatchA !== 0 || transBatchB !== 0 || (found.side === 'right' ? transA : transB) !== 0)
      return 'FusedMatMul transposes its activation';
    return found;
  },
  unfuse: (node, dtype) => {
    const { alpha, transA, transB } = attrsOf(node, 'com.microsoft.FusedMatMul');
    for (const name of ['alpha', 'transA', 'transB', 'transBatchA', 'transBatchB']) node.attrs.delete(name);
    node.op = 'MatMul';
    node.domain = '';
    const at = transA === 1 ? 0 : 1;
    const weight = node.inputs[at];
    if ((transA === 1 || transB === 1) && weight !== undefined) {
      const made: Node[] = [];
      const g = createBuilder((n) => {
        made.push(n);
      });
      const turned = g.within({ origin: node.label, rule: 'adapt/FusedMatMul' }, () =>
        g.Transpose(weight, { perm: [1, 0] }),
      );
      const from = weight.producer;
      node.graph?.insertAfter(from?.graph === node.graph ? from : undefined, ...made);
      node.setInput(at, turned);
    }
    if (alpha !== 1) splitOff(node, 'adapt/FusedMatMul', (g, x) => g.Mul(x, scalar(g, dtype, alpha)));
  },
};
