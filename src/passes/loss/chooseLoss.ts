/** Chooses the loss of a model: the rules of `--loss auto`, each with a sentence for the user. */

import { badLoss, didYouMean, lossUnreached, notTaken } from '../../errors.ts';
import { type LossKind, losses, takersOf } from '../../graph/choices/losses.ts';
import { layerOp } from '../../graph/layers.ts';
import { type Graph, type Node, producersOf, type Value } from '../../graph/model.ts';
import { shapeText } from '../../graph/shapeText.ts';
import { isFloat } from '../../graph/tensor.ts';
import { isAdapted } from '../dialect/adapted.ts';
import { isJoined } from '../dialect/joined.ts';
import { scoresBehind, scoresOutput } from './hardOutputs.ts';
import { leftOut, leftOutWarning } from './leftOut.ts';
import { type LossForm, lossOfProbability, placement } from './placement.ts';
import type { Build } from './probabilities.ts';
import { type SequenceLoss, sequenceLoss, type TokenLabels } from './sequenceLogits.ts';
import { classAxisOf } from './spatialLogits.ts';

export interface ChosenLoss {
  readonly kind: LossKind;
  /** The graph's output. */
  readonly output: Value;
  /** The value that the loss is attached to: the output, or the input of a Softmax, Sigmoid or ArgMax before it. */
  readonly tensor: Value;
  readonly classAxis: number;
  /** The reason, for the user. */
  readonly reason: string;
  /** The value whose shape the labels follow; absent: `tensor`. */
  readonly value?: Value;
  /** Makes the value that the loss is computed on out of values before the output; absent: `tensor` itself. */
  readonly build?: Build | undefined;
  /** The meaning of that value; absent: logits, or numbers. */
  readonly form?: LossForm;
  /** Elements of the output above it are the prediction 1, for binary labels. */
  readonly threshold?: number;
  /** Doubts about the choice, for the user. */
  readonly warnings?: readonly string[];
  /** For logits of tokens: the input with the tokens, and what the labels are. */
  readonly tokens?: { readonly input: string; readonly labels: Exclude<TokenLabels, 'classes'> };
}

/** The facts about the graph when a loss is chosen for the first time. */
export interface ChoiceContext {
  /** The values that layers reach through differentiable operators. */
  readonly reached: ReadonlySet<Value>;
  /** The source has a key/value cache. */
  readonly cached: boolean;
}

export interface LossChoiceOptions {
  readonly loss: LossKind | 'auto';
  readonly lossOutput: string | undefined;
  readonly classAxis: number;
  /** The head whose output the loss is on: its classes are not tokens. */
  readonly head?: string | undefined;
  /** Options and parameters of losses that were given: the loss must take them. */
  readonly given?: readonly string[];
}

/** Throws BAD_OPTION naming an option that the loss does not take. `why`: how it was chosen. */
export function refuseOthers(kind: LossKind, given: readonly string[], why?: string): void {
  const other = given.find((name) => !takersOf(name).includes(kind));
  const chosen = why === undefined ? `--loss ${kind}` : `the loss ${kind}, which was chosen (${why})`;
  if (other !== undefined) throw notTaken(other, chosen, takersOf(other));
}

/**
 * The loss of a graph whose layers are Adapted nodes, or sums with lowered branches. The shapes must have been
 * inferred. Throws BAD_LOSS if no float output depends on a layer, or the requested output does not exist;
 * LOSS_UNREACHED if one depends on layers through operators without a derivative only; BAD_OPTION for an option that
 * the loss does not take. Without `context` the loss was chosen before, and only its place is looked for.
 */
export function chooseLoss(graph: Graph, options: LossChoiceOptions, context?: ChoiceContext): ChosenLoss {
  const { output, value } = lossPlace(graph, options, context?.reached);
  const chosen =
    options.loss === 'auto'
      ? automatic(graph, output, value, options, context)
      : requested(options.loss, output, value, options);
  refuseOthers(chosen.kind, options.given ?? [], chosen.reason);
  if (context === undefined) return chosen;
  const others = options.lossOutput === undefined ? leftOut(graph, output, chosen.tensor, context.reached) : [];
  const { tokens, warning } = options.head === undefined ? tokensFor(graph, chosen, context) : {};
  const warnings = [...(chosen.warnings ?? []), warning, leftOutWarning(output.name, others)];
  return { ...chosen, ...(tokens === undefined ? {} : { tokens }), warnings: warnings.filter((w) => w !== undefined) };
}

/** The kind of labels of a loss over tokens, also where the loss was requested. */
function tokensFor(
  graph: Graph,
  { kind, tensor, tokens }: ChosenLoss,
  { cached }: ChoiceContext,
): Pick<ChosenLoss, 'tokens'> & { readonly warning?: string } {
  if (tokens !== undefined) return { tokens };
  const found = losses[kind].over === 'classes' ? sequenceLoss(graph, tensor, cached) : undefined;
  if (found === undefined || found.labels === 'classes') return {};
  const { tokens: input, labels, why } = found;
  if (losses[kind].shift !== true) return { tokens: { input, labels: labels === 'tokens' ? 'next' : labels } };
  const warning = `the loss ${kind} was requested, but "${tensor.name}" ${why}`;
  return { tokens: { input, labels: 'tokens' }, ...(labels === 'masked' ? { warning } : {}) };
}

/** Losses of a floating-point output itself: what is behind a Round or a comparison is another number. */
const ofItself: ReadonlySet<string> = new Set(['mse', 'l1', 'huber', 'output', 'external']);

/** The output that the loss is put on, and the float value that it is computed from. */
function lossPlace(
  graph: Graph,
  { loss, lossOutput }: LossChoiceOptions,
  reached: ReadonlySet<Value> | undefined,
): { output: Value; value: Value } {
  const candidates = lossOutput === undefined ? graph.outputs : [named(graph, lossOutput)];
  const adapted = new Set([...graph.allNodes()].filter((n) => n.layer !== undefined || isJoined(n)));
  const isAdaptedValue = (v: Value): boolean => dependsOn(v, adapted);
  const places = candidates.flatMap((output) => {
    const value =
      ofItself.has(loss) && isFloat(output.dtype ?? 'float32') ? output : scoresBehind(output, isAdaptedValue);
    return value !== undefined && dependsOn(value, adapted) ? [{ output, value }] : [];
  });
  const hit = places.find(({ value }) => reached === undefined || reached.has(value));
  if (hit !== undefined) {
    // The scores behind a predicted class may be an output too.
    const scores = lossOutput === undefined && hit.output !== hit.value ? scoresOutput(graph, hit.value) : undefined;
    return scores === undefined ? hit : { output: scores, value: scores };
  }
  const [first] = places;
  if (first !== undefined && reached !== undefined) throw unreached(graph, first.output, reached);
  throw badLoss(
    lossOutput === undefined
      ? 'no floating-point output of the model depends on an adapted layer'
      : `output "${lossOutput}" does not depend on an adapted layer, or is not floating point`,
  );
}

function unreached(graph: Graph, output: Value, reached: ReadonlySet<Value>): Error {
  const names = graph.outputs.filter((o) => {
    const value = scoresBehind(o, () => true);
    return o !== output && value !== undefined && reached.has(value);
  });
  const others =
    names.length === 0
      ? 'no output of the model is reached through differentiable operators, so export it with its scores as an output'
      : `reached through differentiable operators: ${names.map((o) => `"${o.name}"`).join(', ')}`;
  return lossUnreached(`output "${output.name}" depends on layers, but no gradient of it reaches one; ${others}`);
}

const axisGiven = ({ given }: LossChoiceOptions): boolean => given?.includes('classAxis') === true;

function automatic(
  graph: Graph,
  output: Value,
  value: Value,
  options: LossChoiceOptions,
  context: ChoiceContext | undefined,
): ChosenLoss {
  const prefix = value === output ? '' : `behind ${output.producer?.op ?? 'an integer output'}, `;
  const pick = (kind: LossKind, tensor: Value, why: string, classAxis = options.classAxis): ChosenLoss => ({
    kind,
    output,
    tensor,
    classAxis,
    reason: `auto: ${prefix}${why}`,
  });
  const shape = value.shape;
  if (shape?.length === 0) return pick('output', value, `output "${output.name}" is a scalar, so it is the loss`);
  const probability = lossOfProbability(value);
  if (probability !== undefined) {
    const { kind, classAxis = options.classAxis, why } = probability;
    const isGiven = axisGiven(options);
    const chosen = explicit(kind, output, value, isGiven ? options.classAxis : classAxis, isGiven);
    return { ...chosen, reason: `auto: ${prefix}${why}` };
  }
  const classes = shape?.at(-1);
  const several = classes === undefined || classes === null || typeof classes === 'string' || classes > 1;
  const isLogits = /logit/i.test(value.name) || /logit/i.test(output.name);
  if (shape?.length === 3 && several && (isLogits || fromLayer(value))) {
    const found = sequenceLoss(graph, value, context?.cached === true);
    if (found !== undefined) return ofTokens(found, pick, value);
  }
  if (isLogits && (shape?.length === 2 || shape?.length === 3) && several)
    return pick('cross-entropy', value, `"${value.name}" is named like logits, ${shapeOf(value)}`);
  if (isLogits && shape !== undefined && shape.length > 3) return ofPixels(value, options, pick);
  const vector = noClasses.find((n) => n.names.test(value.name))?.what;
  if (vector !== undefined)
    return pick('mse', value, `"${value.name}" (${shapeOf(value)}) is named like ${vector}, not like classes`);
  if (shape?.length === 2 && typeof classes === 'number' && classes > 1 && fromLayer(value))
    return pick('cross-entropy', value, `"${value.name}" is ${shapeOf(value)} and comes from a weighted layer`);
  return pick('mse', value, `"${value.name}" (${shapeOf(value)}) looks like neither logits nor probabilities`);
}

type Picker = (kind: LossKind, tensor: Value, why: string, classAxis?: number) => ChosenLoss;

function ofTokens({ tokens, labels, why, warning }: SequenceLoss, pick: Picker, value: Value): ChosenLoss {
  return {
    ...pick(labels === 'tokens' ? 'causal-lm' : 'cross-entropy', value, `"${value.name}" ${why}`, -1),
    ...(labels === 'classes' ? {} : { tokens: { input: tokens, labels } }),
    ...(warning === undefined ? {} : { warnings: [warning] }),
  };
}

/** Logits [batch, classes, height, width]: a segmentation; with one class each element is a binary one. */
function ofPixels(value: Value, { given = [], classAxis }: LossChoiceOptions, pick: Picker): ChosenLoss {
  const axis = given.includes('classAxis') ? classAxis : classAxisOf(value);
  const name = `"${value.name}" is named like logits, ${shapeOf(value)}`;
  return value.shape?.at(axis) === 1
    ? pick('bce', value, `${name}, with one class per position`)
    : pick('cross-entropy', value, `${name}, with the classes on axis ${axis}: a segmentation`, axis);
}

/** Names of outputs that are vectors to compare with, and have no classes. */
const noClasses = [
  {
    names:
      /(^|[^a-z])([a-z]*embed(s|ding|dings)?|(last_)?hidden_states?|pooler_output|pooled(_output)?|features?|latents?|representations?)$/i,
    what: 'an embedding',
  },
  { names: /(^|[^a-z])(b?box(es)?|coord(s|inates)?|offsets?|landmarks?|keypoints?)$/i, what: 'coordinates' },
];

const shapeOf = ({ shape }: Value): string => (shape === undefined ? 'of unknown rank' : shapeText(shape));

function named(graph: Graph, name: string): Value {
  const found = graph.outputs.find((o) => o.name === name);
  if (found !== undefined) return found;
  const names = graph.outputs.map((o) => o.name);
  throw badLoss(`there is no output "${name}"${didYouMean(name, names) || `; the outputs are ${names.join(', ')}`}`);
}

/** A requested loss: on the logits if the output is a probability of them. */
function explicit(kind: LossKind, output: Value, value: Value, classAxis: number, isGiven: boolean): ChosenLoss {
  const { where, ...placed } = placement(kind, value, classAxis, isGiven);
  return { kind, output, value, ...placed, reason: where === '' ? 'as requested' : `as requested, ${where}` };
}

const requested = (kind: LossKind, output: Value, value: Value, options: LossChoiceOptions): ChosenLoss => {
  const chosen = explicit(kind, output, value, options.classAxis, axisGiven(options));
  return options.head === undefined ? chosen : { ...chosen, reason: `for --head ${options.head}` };
};

/** The value before copies of it, and before a quantization that is undone at once. */
function throughIdentity(v: Value): Value {
  const [source] = v.producer?.inputs ?? [];
  const isQuantized = v.producer?.op === 'DequantizeLinear' && source?.producer?.op === 'QuantizeLinear';
  const before = isQuantized ? source.producer?.inputs[0] : v.producer?.op === 'Identity' ? source : undefined;
  return before === undefined ? v : throughIdentity(before);
}

function dependsOn(value: Value, adapted: ReadonlySet<Node>): boolean {
  const seen = new Set<Node>();
  const todo = value.producer === undefined ? [] : [value.producer];
  for (let n = todo.pop(); n !== undefined; n = todo.pop()) {
    if (seen.has(n)) continue;
    if (adapted.has(n)) return true;
    seen.add(n);
    todo.push(...producersOf(n));
    for (const b of n.bodies) if ([...b.allNodes()].some((m) => adapted.has(m))) return true;
  }
  return false;
}

/** Whether the value is the result of a weighted layer, possibly with a bias added. */
function fromLayer(value: Value): boolean {
  const node = throughIdentity(value).producer;
  if (node === undefined) return false;
  return (
    isProduct(node) ||
    (node.op === 'Add' && node.inputs.some((v) => v?.producer !== undefined && isProduct(v.producer)))
  );
}

/** Also true for the last node of a lowered branch. */
const isProduct = (node: Node): boolean =>
  isAdapted(node) ||
  ['MatMul', 'Gemm'].includes(node.op) ||
  (node.layer !== undefined && layerOp(node.layer.op).form === 'linear');
