/**
 * Bounds of a value's elements that hold by construction: interval arithmetic over the nodes that compute it. It finds
 * outputs that are probabilities although they come from no Sigmoid or Softmax directly, such as a mean of sigmoids.
 */
import type { Graph, Value } from '../../graph/model.ts';
import { attrOf, attrsOf, factsOf, opKey } from '../../graph/operators.ts';
import { numbersOf } from '../../graph/tensor.ts';
import { constantTensor } from '../common/constantOperand.ts';
import { axisAfter, axisOf } from './classAxis.ts';
import { mostBytes } from './complements.ts';
import {
  anything,
  type Bounds,
  between,
  either,
  infinity,
  isConstant,
  negative,
  product,
  reciprocal,
  simplexAxis,
  sum,
} from './intervals.ts';
import {
  all,
  classified,
  concatenated,
  distribution,
  keepsElements,
  moved,
  normalized,
  type Rule,
  type Site,
  shares,
  summed,
} from './shares.ts';
import { softmaxOf, sumsOver } from './writtenOut.ts';

/** Chains of operators are followed up to this length. */
const deepest = 100;

/** The bounds of a value; infinite where nothing is known. */
export function boundsOf(value: Value): Bounds {
  const known = new Map<Value, Bounds>();
  const visit = (v: Value, depth: number): Bounds => {
    const found = known.get(v);
    if (found !== undefined) return found;
    known.set(v, anything);
    const made = depth > deepest ? anything : infer(v, (x) => visit(x, depth + 1));
    known.set(v, made);
    return made;
  };
  return visit(value, 0);
}

function infer(v: Value, follow: Site['follow']): Bounds {
  const tensor = constantTensor(v);
  if (tensor !== undefined) {
    const list = tensor.byteLength <= mostBytes ? numbersOf(tensor) : undefined;
    return list === undefined || list.length === 0 ? anything : between(Math.min(...list), Math.max(...list));
  }
  const node = v.producer;
  if (node === undefined) return anything;
  if (v.dtype === 'bool') return between(0, 1);
  const at = (index: number): Bounds => {
    const x = node.inputs[index];
    return x === undefined ? anything : follow(x);
  };
  const site: Site = { node, output: v, at, follow };
  const key = opKey(node);
  const rule = rules[key];
  if (rule !== undefined) return rule(site);
  const facts = factsOf(node);
  return facts?.kind === 'view' || (facts?.kind === 'move' && keepsElements.has(key)) ? moved(site) : anything;
}

/** A function that rises or falls: its bounds are its values at the bounds of its input. */
const monotone =
  (f: (x: number) => number, keeps = true): Rule =>
  ({ at }) => {
    const { low, high, probable } = at(0);
    const [a, b] = [f(low), f(high)];
    return Number.isNaN(a) || Number.isNaN(b) ? anything : between(Math.min(a, b), Math.max(a, b), keeps && probable);
  };

const fixed =
  (low: number, high: number, probable = false): Rule =>
  () =>
    between(low, high, probable);

/** The larger or the smaller of elements. */
const extreme =
  (pick: (...n: number[]) => number): Rule =>
  (site) => {
    const list = all(site);
    return between(
      pick(...list.map((b) => b.low)),
      pick(...list.map((b) => b.high)),
      list.some((b) => b.probable),
    );
  };

function clipped({ node, at }: Site): Bounds {
  const [x, low, high] = [at(0), at(1), at(2)];
  const [least, most] = [
    node.inputs[1] === undefined ? -infinity : low.low,
    node.inputs[2] === undefined ? infinity : high.high,
  ];
  const clip = (n: number): number => Math.min(Math.max(n, least), most);
  return between(clip(x.low), clip(x.high), x.probable);
}

function divided({ node, at }: Site): Bounds {
  const share = normalized(node, at(0));
  if (share !== undefined) return share;
  return product(at(0), reciprocal(at(1)));
}

/** Averages and extremes over axes; zeros of a padded window count. */
const reduced =
  (zeros: boolean): Rule =>
  ({ node, output, at }) => {
    const { along, low, high, probable } = at(0);
    const rest = zeros ? between(Math.min(low, 0), Math.max(high, 0), probable) : between(low, high, probable);
    const axis = along === undefined || node.op !== 'ReduceMean' ? undefined : axisAfter(node, output, along.axis);
    return axis === undefined || along === undefined ? rest : { ...rest, along: { ...along, axis } };
  };

/** The results of both branches, or of the body of a Scan or Loop. */
function branched({ node, output, follow }: Site): Bounds {
  const index = node.outputs.indexOf(output);
  const ends = node.bodies.flatMap((b: Graph) => b.outputs[index] ?? []);
  return ends.length === 0 || ends.length < node.bodies.length ? anything : either(ends.map(follow));
}

/** A MatMul whose rows are weights with the sum 1 mixes the rows of the other operand, whose bounds hold. */
function mixed({ node, at }: Site): Bounds {
  const [a, b] = [at(0), at(1)];
  const rank = node.inputs[0]?.shape?.length;
  const convex = a.low >= 0 && rank !== undefined && simplexAxis(a) === rank - 1;
  return convex ? between(b.low, b.high, b.probable) : anything;
}

function powered({ at }: Site): Bounds {
  const [x, e] = [at(0), at(1)];
  if (!isConstant(e)) return anything;
  if (e.low === 2) {
    const [a, b] = [x.low * x.low, x.high * x.high];
    return between(x.low <= 0 && x.high >= 0 ? 0 : Math.min(a, b), Math.max(a, b), x.probable);
  }
  const ends = [x.low ** e.low, x.high ** e.low];
  return x.low >= 0 && !ends.some(Number.isNaN) ? between(Math.min(...ends), Math.max(...ends), x.probable) : anything;
}

const average: Rule = (site) => {
  const list = all(site);
  return product(sum(list), between(1 / list.length, 1 / list.length));
};

/** Interpolation between elements stays between them; cubic weights overshoot. */
const interpolated: Rule = ({ node, at }) => {
  const { low, high, probable } = at(0);
  const mode = attrOf(node, 'mode');
  return mode === 'cubic' ? anything : between(Math.min(low, 0), Math.max(high, 0), probable);
};

const rules: Readonly<Record<string, Rule | undefined>> = {
  Sigmoid: fixed(0, 1, true),
  HardSigmoid: fixed(0, 1, true),
  Softmax: distribution,
  Hardmax: distribution,
  LogSoftmax: fixed(-infinity, 0),
  Tanh: fixed(-1, 1),
  Softsign: fixed(-1, 1),
  Erf: fixed(-1, 1),
  Sin: fixed(-1, 1),
  Cos: fixed(-1, 1),
  Abs: ({ at }) => {
    const { low, high, probable } = at(0);
    return low >= 0 ? between(low, high, probable) : between(0, Math.max(-low, high), probable);
  },
  Exp: ({ node, at, output }) => {
    const softmax = node.inputs[0]?.producer?.op === 'LogSoftmax' ? node.inputs[0].producer : undefined;
    if (softmax !== undefined) return distribution({ node: softmax, at, output, follow: () => anything });
    return monotone(Math.exp)({ node, at, output, follow: () => anything });
  },
  Log: monotone(Math.log),
  Sqrt: monotone(Math.sqrt),
  Relu: monotone((x) => Math.max(x, 0)),
  Softplus: monotone((x) => (x > 700 ? x : Math.log1p(Math.exp(x)))),
  Floor: monotone(Math.floor),
  Ceil: monotone(Math.ceil),
  Round: monotone(Math.round),
  Neg: ({ at }) => negative(at(0)),
  Reciprocal: ({ at }) => reciprocal(at(0)),
  Add: (site) => sum(all(site)),
  Sum: (site) => sum(all(site)),
  Mean: average,
  Sub: ({ at }) => sum([at(0), negative(at(1))]),
  Mul: ({ node, at, output, follow }) => {
    const [a, b] = node.inputs;
    const by = b?.producer?.op === 'Reciprocal' ? b.producer.inputs[0] : undefined;
    const axis = a !== undefined && by !== undefined ? sumsOver(by, a) : undefined;
    if (axis !== undefined && at(0).low >= 0) return { ...shares(at(0)), along: { axis, total: 1 } };
    return a === b
      ? powered({ node, output, follow, at: (i) => (i === 0 ? at(0) : between(2, 2)) })
      : product(at(0), at(1));
  },
  Div: (site) => {
    const softmax = softmaxOf(site.output);
    if (softmax !== undefined) return { ...between(0, 1, true), along: { axis: softmax.axis, total: 1 } };
    return divided(site);
  },
  Pow: powered,
  Max: extreme(Math.max),
  Min: extreme(Math.min),
  Clip: clipped,
  Where: ({ at }) => either([at(1), at(2)]),
  Cast: moved,
  CastLike: moved,
  Concat: concatenated,
  Pad: ({ node, at }) => either([at(0), node.inputs[2] === undefined ? between(0, 0) : at(2)]),
  Dropout: ({ node, at }) => (node.inputs[2] === undefined ? at(0) : anything),
  ReduceMean: reduced(false),
  ReduceMax: reduced(false),
  ReduceMin: reduced(false),
  GlobalAveragePool: reduced(false),
  GlobalMaxPool: reduced(false),
  MaxPool: reduced(false),
  AveragePool: reduced(true),
  ReduceProd: ({ at }) => (at(0).low >= 0 && at(0).high <= 1 ? between(0, 1, at(0).probable) : anything),
  ReduceSum: summed,
  LpNormalization: ({ node, at, output }) => {
    const { axis, p } = attrsOf(node, 'LpNormalization');
    const rank = output.shape?.length;
    if (at(0).low < 0) return between(-1, 1);
    return {
      ...shares(at(0)),
      along: p === 1 && rank !== undefined ? { axis: axisOf(axis, rank), total: 1 } : undefined,
    };
  },
  'ai.onnx.ml.Normalizer': ({ node, at, output }) => {
    const rank = output.shape?.length;
    if (at(0).low < 0) return anything;
    const total = attrOf(node, 'norm') === 'L1' && rank !== undefined;
    return { ...shares(at(0)), along: total ? { axis: rank - 1, total: 1 } : undefined };
  },
  'ai.onnx.ml.ArrayFeatureExtractor': moved,
  'ai.onnx.ml.LinearClassifier': classified,
  'ai.onnx.ml.TreeEnsembleClassifier': classified,
  'ai.onnx.ml.SVMClassifier': classified,
  TopK: ({ node, output, at }) =>
    node.outputs[0] === output ? between(at(0).low, at(0).high, at(0).probable) : anything,
  Resize: interpolated,
  GridSample: interpolated,
  MatMul: mixed,
  If: branched,
};
