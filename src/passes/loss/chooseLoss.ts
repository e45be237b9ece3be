/** Chooses the loss of a model: the rules of `--loss auto`, each with a sentence for the user. */
import { badLoss, didYouMean, notTaken } from '../../errors.ts';
import { type LossKind, takersOf } from '../../graph/choices/losses.ts';
import { layerOp } from '../../graph/layers.ts';
import { type Graph, type Node, producersOf, type Value } from '../../graph/model.ts';
import { isAdapted } from '../dialect/adapted.ts';
import { isJoined } from '../dialect/joined.ts';
import { scoresBehind } from './hardOutputs.ts';
import { type LossForm, lossOfProbability, placement } from './placement.ts';
import type { Build } from './probabilities.ts';

export interface ChosenLoss {
  readonly kind: LossKind;
  /** The graph's output. */
  readonly output: Value;
  /** The value that the loss is attached to: the output, or what goes into a final Softmax, Sigmoid or ArgMax. */
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
  /** Doubts about the choice, for the user: a sentence each. */
  readonly warnings?: readonly string[];
}

export interface LossChoiceOptions {
  readonly loss: LossKind | 'auto';
  readonly lossOutput: string | undefined;
  readonly classAxis: number;
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
 * inferred. Throws BAD_LOSS if no float output depends on a layer, or the requested output does not exist; BAD_OPTION
 * for an option that the loss does not take.
 */
export function chooseLoss(graph: Graph, options: LossChoiceOptions): ChosenLoss {
  const chosen = lossFor(graph, options);
  refuseOthers(chosen.kind, options.given ?? [], chosen.reason);
  return chosen;
}

function lossFor(graph: Graph, options: LossChoiceOptions): ChosenLoss {
  const candidates = options.lossOutput === undefined ? graph.outputs : [named(graph, options.lossOutput)];
  const adapted = new Set([...graph.allNodes()].filter((n) => n.layer !== undefined || isJoined(n)));
  const hit = candidates
    .map((o) => ({ output: o, value: scoresBehind(o, (v) => dependsOn(v, adapted)) }))
    .find(({ value }) => value !== undefined && dependsOn(value, adapted));
  if (hit?.value === undefined)
    throw badLoss(
      options.lossOutput === undefined
        ? 'no floating-point output of the model depends on an adapted layer'
        : `output "${options.lossOutput}" does not depend on an adapted layer, or is not floating point`,
    );
  const { output, value } = hit;
  const prefix = value === output ? '' : `behind ${output.producer?.op ?? 'an integer output'}, `;
  const axisGiven = options.given?.includes('classAxis') === true;
  if (options.loss !== 'auto') return explicit(options.loss, output, value, options.classAxis, axisGiven);
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
    const reason = `auto: ${prefix}${why}`;
    return { ...explicit(kind, output, value, axisGiven ? options.classAxis : classAxis, axisGiven), reason };
  }
  const classes = shape?.at(-1);
  const several = classes === undefined || classes === null || typeof classes === 'string' || classes > 1;
  if (/logit/i.test(value.name) && (shape?.length === 2 || shape?.length === 3) && several) {
    const table = shape.length === 3 ? languageModel(graph, value) : undefined;
    if (table !== undefined)
      return pick(
        'causal-lm',
        value,
        `"${value.name}" has one row per token of "input_ids" and as many columns as "${table}" has rows`,
        -1,
      );
    return pick('cross-entropy', value, `"${value.name}" is named like logits, ${shapeText(value)}`);
  }
  if (shape?.length === 2 && typeof classes === 'number' && classes > 1 && fromLayer(value))
    return pick('cross-entropy', value, `"${value.name}" is ${shapeText(value)} and comes from a weighted layer`);
  return pick('mse', value, `"${value.name}" (${shapeText(value)}) looks like neither logits nor probabilities`);
}

const shapeText = (v: Value): string =>
  v.shape === undefined ? 'of unknown rank' : `[${v.shape.map((d) => d ?? '?').join(', ')}]`;

function named(graph: Graph, name: string): Value {
  const found = graph.outputs.find((o) => o.name === name);
  if (found !== undefined) return found;
  const names = graph.outputs.map((o) => o.name);
  throw badLoss(`there is no output "${name}"${didYouMean(name, names) || `; the outputs are ${names.join(', ')}`}`);
}

/** A requested loss: on the logits if the output is a probability of them. */
function explicit(kind: LossKind, output: Value, value: Value, classAxis: number, axisGiven: boolean): ChosenLoss {
  const { where, ...placed } = placement(kind, value, classAxis, axisGiven);
  return { kind, output, value, ...placed, reason: where === '' ? 'as requested' : `as requested, ${where}` };
}

function throughIdentity(v: Value): Value {
  let at = v;
  while (at.producer?.op === 'Identity' && at.producer.inputs[0] !== undefined) at = at.producer.inputs[0];
  return at;
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

/** The embedding table that input_ids reads, if logits [N, S, C] have its S and its height C. */
function languageModel(graph: Graph, logits: Value): string | undefined {
  const ids = graph.inputs.find((v) => v.name === 'input_ids');
  const [, length] = ids?.shape ?? [];
  if (ids === undefined || length === undefined || length === null) return undefined;
  const [, steps, classes] = logits.shape ?? [];
  if (steps !== length) return undefined;
  for (const { node } of readers(ids)) {
    const table = node.op === 'Gather' ? tableBehind(node.inputs[0]) : undefined;
    if (table?.tensor?.dims[0] === classes) return table?.name;
  }
  return undefined;
}

/** The stored tensor of a table, before casts. */
function tableBehind(value: Value | undefined): Value | undefined {
  let at = value;
  while (at?.producer !== undefined && ['Cast', 'Identity', 'DequantizeLinear'].includes(at.producer.op))
    at = at.producer.inputs[0];
  return at;
}

/** Uses of a value, also after casts and reshapes of it. */
function readers(value: Value): { node: Node }[] {
  return [...value.uses].flatMap((u) =>
    ['Cast', 'Identity', 'Reshape', 'Unsqueeze', 'Squeeze'].includes(u.node.op) && u.node.outputs[0] !== undefined
      ? readers(u.node.outputs[0])
      : [{ node: u.node }],
  );
}
