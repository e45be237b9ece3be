/** Chooses the value that a head reads, and the output whose place it takes. */
import { badOption, didYouMean } from '../../errors.ts';
import { ancestorsOf } from '../../graph/ancestors.ts';
import { layerOp } from '../../graph/layers.ts';
import type { Graph, Model, Node, Value } from '../../graph/model.ts';
import { attrsOf, opKey } from '../../graph/operators.ts';
import { isFloat } from '../../graph/tensor.ts';
import { constantTensor } from '../common/constantOperand.ts';
import type { Product } from '../dialect/layerKind.ts';
import { isPresent } from '../normalize/bind/names.ts';
import { findProducts } from '../select/findProducts.ts';
import { layerOpOf } from '../select/layers/index.ts';
import type { SourceFacts } from './facts.ts';

export interface HeadPlace {
  readonly value: Value;
  /** The value [N, S, width] that an exporter has joined to `value` [N·S, width] right before the last layer. */
  readonly unjoined?: Value | undefined;
  /** The output of the model. */
  readonly output: Value;
  /** The last weighted layer before the output, which the head replaces. */
  readonly layer?: Product | undefined;
  readonly why: string;
}

/** Names of outputs that are hidden states: transformers' and Optimum's, and that of sentence-transformers. */
const stateNames = ['last_hidden_state', 'hidden_states', 'token_embeddings'];

/** Errors: BAD_OPTION if the features of the model are not known, or `given` is not a value of it. */
export function chooseInput(model: Model, given: string | undefined): HeadPlace {
  const { graph } = model;
  if (given !== undefined) return named(graph, given);
  for (const name of stateNames) {
    const output = graph.outputs.find((o) => o.name === name);
    if (output !== undefined) return { value: output, output, why: `the output "${name}"` };
  }
  const products = findProducts(model).products.filter((p) => p.graph === graph && p.calls.length === 0);
  const byNode = new Map(products.map((p) => [p.node, p]));
  // A predicted class comes after scores that are an output too.
  const outputs = [true, false].flatMap((float) => graph.outputs.filter((o) => isComputed(o) && isScores(o) === float));
  const walks = outputs.map((output) => ({ output, ...lastLayer(output, byNode) }));
  const hit = walks.find((w) => w.layer !== undefined && layerOp(layerOpOf(w.layer.node)).form !== 'embedding');
  if (hit?.layer !== undefined) {
    return {
      ...readBy(hit.layer),
      output: hit.output,
      layer: hit.layer,
      why: `the input of "${hit.layer.node.label}", the last weighted layer before "${hit.output.name}", which it replaces`,
    };
  }
  const first = walks.find(({ output }) => isScores(output));
  if (first === undefined || first.scores || /logit|prob|score/i.test(first.output.name))
    throw badOption(
      `--head: the features of the model are not known${first === undefined ? '' : `: "${first.output.name}" has scores, but not from a weighted layer`}`,
      'name the value that the head reads with --head-input; loraify print lists the values',
    );
  return { value: first.output, output: first.output, why: `the output "${first.output.name}"` };
}

function named(graph: Graph, name: string): HeadPlace {
  const values = [...graph.nodes.flatMap((n) => n.outputs)].filter((v) => v.name !== '');
  const value = values.find((v) => v.name === name);
  if (value === undefined) {
    const names = [...graph.outputs, ...values].map((v) => v.name);
    throw badOption(
      `--head-input: the model computes no value "${name}"${didYouMean(name, names)}`,
      'loraify print lists the values; a value inside a function or a body cannot be read',
    );
  }
  const output = graph.outputs.includes(value)
    ? value
    : graph.outputs.find((o) => !isPresent(o.name) && ancestorsOf([o]).has(value));
  if (output === undefined)
    throw badOption(`--head-input: no output depends on "${name}", so the head would take the place of none`);
  return { value, output, why: `"${name}", as requested` };
}

/** Whether an output is computed, and no cache. */
const isComputed = (o: Value): boolean => !isPresent(o.name) && o.producer !== undefined;
const isScores = (o: Value): boolean => isFloat(o.dtype ?? 'float32');

/** Operators that follow the last layer of a model: its activation, and what only changes the form of the result. */
const behind: ReadonlySet<string> = new Set(
  'Identity Cast Squeeze Unsqueeze Reshape Flatten Tanh QuantizeLinear DequantizeLinear'.split(' '),
);
const scoring: ReadonlySet<string> = new Set('Softmax LogSoftmax Sigmoid ArgMax'.split(' '));
/** The same with a constant: a bias, a temperature. */
const withConstant: ReadonlySet<string> = new Set('Add Sub Mul Div'.split(' '));

/** The layer whose result, but for such operators, is the output; `scores`: a Softmax or the like was on the way. */
function lastLayer(output: Value, layers: ReadonlyMap<Node, Product>): { layer?: Product; scores: boolean } {
  let scores = false;
  for (let v: Value | undefined = output; v !== undefined; ) {
    const node: Node | undefined = v.producer;
    if (node === undefined) break;
    const layer = layers.get(node);
    if (layer !== undefined) return { layer, scores };
    const key = opKey(node);
    if (scoring.has(key)) scores = true;
    const [a, b]: readonly (Value | undefined)[] = node.inputs;
    if (behind.has(key) || scoring.has(key)) v = a;
    else if (withConstant.has(key)) v = isConstant(b) ? a : isConstant(a) ? b : undefined;
    else break;
  }
  return { scores };
}

const isConstant = (v: Value | undefined): boolean => v !== undefined && constantTensor(v) !== undefined;

/** The input of a layer. */
function readBy({ node, side }: Product): Pick<HeadPlace, 'value' | 'unjoined'> {
  const value = node.inputs[side === 'right' ? 0 : 1];
  if (value === undefined) throw new Error(`"${node.label}" reads nothing`);
  const before = value.producer;
  const isView = before !== undefined && ['Reshape', 'Flatten'].includes(opKey(before));
  return { value, unjoined: isView ? before.inputs[0] : undefined };
}

/** The value with a row and its positions apart. */
export function separateRows(place: HeadPlace, facts: SourceFacts): Value {
  const { value, unjoined } = place;
  if (unjoined === undefined) return value;
  const [from, to] = [facts.of(unjoined).shape, facts.of(value).shape];
  return from?.length === 3 && to?.length === 2 && from[2] === to[1] ? unjoined : value;
}

/** The number of classes of a replaced layer, if it is known. */
export const classesOf = ({ layer }: HeadPlace): number | undefined =>
  layer === undefined || (opKey(layer.node) === 'Gemm' && attrsOf(layer.node, 'Gemm').transA !== 0)
    ? undefined
    : layer.out;
