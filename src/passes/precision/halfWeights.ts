/**
 * Rounds frozen weights (`--precision`): a float32 weight of a MatMul, a convolution or an embedding is stored in half
 * precision, and cast to float32 before its readers. Everything else is unchanged, so the model runs wherever it ran;
 * in a training graph halfProducts.ts replaces the casts. Norms, biases, constants and function arguments stay float32.
 */

import { badOption } from '../../errors.ts';
import { createBuilder } from '../../graph/builder.ts';
import { trainableMark } from '../../graph/marks.ts';
import { type Graph, graphsOf, type Model, Node, replaceUses, tensorType, Value } from '../../graph/model.ts';
import type { HalfType } from '../../graph/rounding.ts';
import { rounded } from '../../graph/tensor.ts';
import { constantTensor, type Traced, traceConstant, typeOf } from '../common/constantOperand.ts';
import { isAdapted } from '../dialect/adapted.ts';
import { savedMark } from '../dialect/marks.ts';
import { kindOf } from '../select/layers/index.ts';
import { castTo, pickNarrow, picks } from './missingKernels.ts';
import { storedRule } from './storedBehind.ts';

export interface Stored {
  readonly type: HalfType;
  readonly weights: number;
  /** The size of the rounded weights, and in the source. */
  readonly bytes: number;
  readonly sourceBytes: number;
}

/**
 * In place, on an adapted model. Undefined if the weights have this type already. Throws BAD_OPTION if they have
 * another half-precision type, or if there are no float32 weights.
 */
export function roundWeights(model: Model, type: HalfType): Stored | undefined {
  const graphs = graphsOf(model);
  const fixed = new Set<Value>([...model.graph.inputs, ...graphs.flatMap((g) => g.outputs)]);
  const wanted = new Set<Value>();
  const found = new Set<string>();
  const storedAs = new Set<string>();
  let overridable = 0;
  for (const graph of graphs)
    for (const node of graph.nodes)
      for (const traced of weightsOf(node)) {
        if (traced.kind !== 'weight') continue;
        const { stored, tensor, chain } = traced.view;
        // modules_to_save weights are not frozen, nor is A in the sum that an Attention node reads.
        if (stored.metadata.has(savedMark) || tensor.metadata?.has(trainableMark) === true) continue;
        found.add(typeOf(traced.view) ?? tensor.dtype);
        storedAs.add(tensor.dtype);
        const same = chain.every(({ op }) => op === 'Identity' || op === 'Transpose' || op === 'Reshape');
        if (tensor.dtype !== 'float32' || !same) continue;
        if (fixed.has(stored)) overridable++;
        else wanted.add(stored);
      }
  const other = [...found].find((t) => t !== type && (t === 'float16' || t === 'bfloat16'));
  if (other !== undefined)
    throw badOption(
      `its weights are ${other} already, ${type} would round them a second time`,
      'leave --precision out: the graphs compute in the type of the weights',
    );
  if (found.has(type)) return undefined;
  if (wanted.size === 0)
    throw badOption(
      `no weight can be rounded to ${type}: ${whyNone(storedAs, overridable)}`,
      'leave --precision out: the weights stay unchanged',
    );
  const opset = Math.min(...[model, ...model.functions].map((m) => m.opsets.get('') ?? newest));
  if (type === 'bfloat16' && opset < firstBfloat16)
    throw badOption(
      `opset ${opset} of the model has no bfloat16`,
      `use --precision fp16, or convert the model to opset ${firstBfloat16}`,
    );
  let bytes = 0;
  for (const value of wanted) bytes += store(value, graphs, type);
  return { type, weights: wanted.size, bytes, sourceBytes: 2 * bytes };
}

/** The first opset whose Cast and Gather support bfloat16; `model.onnx` keeps the opset of the source. */
const firstBfloat16 = 13;
const newest = 26;

function whyNone(storedAs: ReadonlySet<string>, overridable: number): string {
  if (overridable > 0)
    return 'they are inputs or outputs of the model (before IR version 4 all weights are inputs), whose types cannot change';
  if (storedAs.size === 0) return 'no MatMul, convolution or embedding reads a constant matrix';
  return `those of MatMuls, convolutions and embeddings are ${[...storedAs].join(', ')}${storedAs.has('float32') ? ', and are cast before they are read' : ''}`;
}

/**
 * The constant matrices, kernels and tables that a node reads. A matrix of one row or column is not worth rounding, and
 * may be the frequencies of a rotary embedding, which positions are multiplied by: their product needs all digits.
 */
function weightsOf(node: Node): Traced[] {
  const follow = (v: Value | undefined): Traced[] => {
    const traced = v && traceConstant(v, new Map());
    if (traced?.kind !== 'weight') return [];
    const lasts = traced.view.dims.slice(-2);
    return lasts.length === 2 && (isConvolution(node) || lasts.every((d) => d > 1)) ? [traced] : [];
  };
  if (isAdapted(node)) return follow(node.inputs[1]);
  if (node.domain !== '') return [];
  if (node.op === 'MatMul' || node.op === 'Gemm') {
    const operands = node.inputs.slice(0, 2).flatMap(follow);
    return operands.length === 1 ? operands : [];
  }
  if (isConvolution(node)) return follow(node.inputs[1]);
  const row = kindOf(node)?.find(node, (v) => traceConstant(v, new Map()));
  return typeof row === 'object' ? [row].flat().map(({ weight: view }) => ({ kind: 'weight', view })) : [];
}

const isConvolution = ({ op, domain }: Node): boolean => domain === '' && (op === 'Conv' || op === 'ConvTranspose');

/** Replaces the stored tensor with a rounded one, and inserts a cast before its readers. Returns its size in bytes. */
function store(value: Value, graphs: readonly Graph[], type: HalfType): number {
  const tensor = constantTensor(value);
  if (tensor === undefined) return 0;
  const half = rounded(tensor, type, value.name);
  const { producer } = value;
  const graph = producer?.graph ?? graphs.find((g) => g.initializers.includes(value));
  if (producer === undefined) value.tensor = half;
  else producer.attrs.set('value', { kind: 'tensor', value: half, name: '' });
  value.type = tensorType(type, half.dims);
  const g = createBuilder();
  const mark = (origin: string, node: Node): Node => g.within({ origin, rule: storedRule }, () => g.own(node));
  const uses = [...value.uses];
  for (const { node, index } of uses)
    if (picks(node, index)) pickNarrow(node, type, (_, origin, cast) => mark(origin, cast));
  if (uses.every((u) => picks(u.node, u.index))) return half.byteLength;
  const wide = new Value(`${value.name}.float32`, tensorType('float32', half.dims));
  replaceUses(value, wide, (u) => picks(u.node, u.index));
  const cast = new Node({ op: 'Cast', inputs: [value], outputs: [wide], attrs: castTo('float32') });
  graph?.insertAfter(producer, mark(value.name, cast));
  return half.byteLength;
}
