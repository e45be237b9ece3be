/** Bounds of shares of one: distributions over classes, their parts, and what moves them. */
import type { Node, Value } from '../../graph/model.ts';
import { attrOf, attrsOf, numberAttr, opKey } from '../../graph/operators.ts';
import { knownInts } from '../common/dimArithmetic.ts';
import { axisAfter, axisOf } from './classAxis.ts';
import { complements } from './complements.ts';
import { anything, type Bounds, between, either, infinity } from './intervals.ts';
import { sumsOver } from './writtenOut.ts';

type Follow = (v: Value) => Bounds;
/** The input of a rule: the node, the bounds of its inputs, and the output that is looked at. */
export interface Site {
  readonly node: Node;
  readonly output: Value;
  /** Bounds of the input of this index; infinite where it is absent. */
  readonly at: (index: number) => Bounds;
  readonly follow: Follow;
}
export type Rule = (site: Site) => Bounds;

/** Operators whose result has elements of the first input only. */
export const keepsElements = new Set([
  ...['Transpose', 'Slice', 'Gather', 'GatherElements', 'GatherND', 'Expand', 'Tile', 'Split', 'ReverseSequence'],
  ...['DepthToSpace', 'SpaceToDepth'],
]);

/** The bounds of the first input, and its sum where the axis of the sum is kept. */
export function moved({ node, output, at }: Site): Bounds {
  const { along, ...rest } = at(0);
  const axis = along === undefined ? undefined : axisAfter(node, output, along.axis);
  return axis === undefined || along === undefined ? rest : { ...rest, along: { ...along, axis } };
}

export const all = ({ node, follow }: Site): Bounds[] =>
  node.inputs.flatMap((v) => (v === undefined ? [] : [follow(v)]));

/** x / sum(x) of numbers that are not negative, written out or as an operator. */
export function normalized(node: Node, x: Bounds): Bounds | undefined {
  const [value, by] = node.inputs;
  const axis = value === undefined || by === undefined ? undefined : sumsOver(by, value);
  return axis === undefined || x.low < 0 ? undefined : { ...shares(x), along: { axis, total: 1 } };
}
export const shares = (x: Bounds): Bounds => between(0, 1, x.probable);

/** Probabilities along an axis of which some are left out have a sum of at most 1. */
export function summed({ node, at, follow }: Site): Bounds {
  const [x] = node.inputs;
  const parts = at(0);
  const axes = knownInts(node.inputs[1]);
  const from = x?.producer;
  const whole = from !== undefined && keepsElements.has(from.op) && from.inputs[0] ? follow(from.inputs[0]) : parts;
  const along = parts.along ?? whole.along;
  const rank = x?.shape?.length ?? 0;
  if (along !== undefined && parts.low >= 0 && axes?.length === 1 && axisOf(axes[0] ?? 0, rank) === along.axis)
    return between(0, along.total, parts.probable);
  return parts.low >= 0 ? between(0, infinity) : anything;
}

export function distribution({ node, output }: Site): Bounds {
  const rank = output.shape?.length;
  const axis = rank === undefined ? undefined : axisOf(numberAttr(node, 'axis') ?? -1, rank);
  return { ...between(0, 1, true), along: axis === undefined ? undefined : { axis, total: 1 } };
}

export function concatenated(site: Site): Bounds {
  const { along, ...rest } = either(all(site));
  const axis = axisOf(attrsOf(site.node, 'Concat').axis ?? 0, site.output.shape?.length ?? 0);
  const pair = complements(site.node, axis);
  const kept = along !== undefined && along.axis !== axis ? along : undefined;
  return { ...rest, along: pair ? { axis, total: 1 } : kept };
}

export const classified: Rule = (site) => {
  const post = attrOf(site.node, 'post_transform');
  if (site.node.outputs.indexOf(site.output) !== 1) return anything;
  if (post === 'SOFTMAX') return { ...between(0, 1, true), along: { axis: 1, total: 1 } };
  if (post !== 'LOGISTIC') return anything;
  return { ...between(0, 1, true), along: isMirrored(site.node) ? { axis: 1, total: 1 } : undefined };
};

/** Whether a classifier has two scores of which one is the other negated: their sigmoids have the sum 1. */
function isMirrored(node: Node): boolean {
  if (opKey(node) !== 'ai.onnx.ml.LinearClassifier') return false;
  const { coefficients = [], intercepts = [] } = attrsOf(node, 'ai.onnx.ml.LinearClassifier');
  const half = coefficients.length / 2;
  return (
    intercepts.length === 2 &&
    intercepts[0] === -(intercepts[1] ?? Number.NaN) &&
    coefficients.slice(0, half).every((c, i) => c === -(coefficients[half + i] ?? Number.NaN))
  );
}
