/**
 * Looks through what has no derivative, such as predicted classes, to the floating-point value that it is computed
 * from, for a loss on that value.
 */
import type { Dim, Graph, Node, Value } from '../../graph/model.ts';
import { opKey } from '../../graph/operators.ts';
import { isFloat, numbersOf } from '../../graph/tensor.ts';
import { constantTensor } from '../common/constantOperand.ts';

/** Operators whose result is piecewise constant, or a container of their input: their first input is followed. */
const hard = new Set([
  ...['ArgMax', 'ArgMin', 'Hardmax', 'Round', 'Floor', 'Ceil', 'Sign', 'OneHot', 'Not'],
  ...['QuantizeLinear', 'DynamicQuantizeLinear'],
  ...['Binarizer', 'LabelEncoder', 'ZipMap', 'CastMap', 'CategoryMapper', 'OneHotEncoder'].map(
    (op) => `ai.onnx.ml.${op}`,
  ),
]);

/** Those of which each input is followed. */
const comparing = new Set([
  ...['Greater', 'GreaterOrEqual', 'Less', 'LessOrEqual', 'And', 'Or'],
  'ai.onnx.ml.ArrayFeatureExtractor',
]);

/** Operators that are followed where the value is of another type: with floats they have a derivative. */
const plain = new Set([
  ...['TopK', 'Cast', 'CastLike', 'Identity', 'Squeeze', 'Unsqueeze', 'Reshape', 'Flatten', 'Transpose', 'Slice'],
]);
const joining = new Set(['Where', 'Mul', 'Add', 'Sub', 'Concat', 'Gather']);

/** The inputs that a value of labels may come from; undefined for an operator that is not followed. */
function followed({ inputs, op, domain }: Node): readonly (Value | undefined)[] | undefined {
  const key = opKey({ op, domain });
  if (comparing.has(key) || joining.has(key)) return inputs;
  return hard.has(key) || plain.has(key) ? inputs.slice(0, 1) : undefined;
}

/** Whether the value is a tensor of floats, as far as is known. */
const isScored = (v: Value): boolean =>
  (v.type === undefined || v.type.kind === 'tensor') && (v.dtype === undefined || isFloat(v.dtype));

/**
 * The float value that an output is computed from; `depends` selects values that a layer has a part in. Undefined if
 * there is none, or several, of which no one is meant.
 */
export function scoresBehind(output: Value, depends: (v: Value) => boolean): Value | undefined {
  const ends = new Set<Value>();
  const seen = new Set<Value>();
  const todo = [output];
  for (let v = todo.pop(); v !== undefined; v = todo.pop()) {
    if (seen.has(v)) continue;
    seen.add(v);
    const node = v.producer;
    if (isEnd(v)) {
      ends.add(v);
      continue;
    }
    const next = node === undefined ? undefined : followed(node);
    if (next === undefined) return undefined;
    todo.push(...next.filter((x) => x !== undefined).filter(depends));
  }
  const [only, ...others] = ends;
  return others.length === 0 ? only : undefined;
}

/** Whether the value is where a loss may be put. */
const isEnd = (v: Value): boolean => isScored(v) && !isConstantAlmostEverywhere(v);

/** Whether a float value comes from an operator without a derivative, through operators that keep its elements. */
function isConstantAlmostEverywhere(value: Value): boolean {
  for (let v = value; ; ) {
    const node = v.producer;
    if (node === undefined) return false;
    // Its first input may be a table of floats: what is read is chosen by an index.
    if (opKey(node) === 'ai.onnx.ml.ArrayFeatureExtractor') return isTable(node);
    if (hard.has(opKey(node))) return true;
    const [x] = node.inputs;
    if (x === undefined || !keeping.has(opKey(node))) return false;
    if (x.dtype !== undefined && !isFloat(x.dtype)) return true;
    v = x;
  }
}
const keeping = new Set(['Cast', 'Identity', 'Squeeze', 'Unsqueeze', 'Reshape', 'Flatten']);

const isTable = ({ inputs: [x] }: Node): boolean => x !== undefined && constantTensor(x) !== undefined;

/**
 * The output that has these scores: the value itself, a copy of it, or a float output of the same shape that is
 * computed from it, such as normalized scores.
 */
export function scoresOutput(graph: Graph, value: Value): Value | undefined {
  const outputs = graph.outputs.filter((o) => isScored(o) && o.dtype !== undefined);
  const copy = outputs.find((o) => sourceOf(o) === sourceOf(value));
  const isAlike = (o: Value): boolean => o.shape !== undefined && sameShape(o.shape, value.shape);
  return copy ?? outputs.find((o) => isAlike(o) && isFrom(o, value));
}

const sameShape = (a: readonly Dim[], b: readonly Dim[] | undefined): boolean =>
  a.length === b?.length && a.every((d, i) => d === b[i]);

/** The value before copies of it. */
function sourceOf(value: Value): Value {
  const [x] = value.producer?.op === 'Identity' ? value.producer.inputs : [];
  return x === undefined ? value : sourceOf(x);
}

/** Whether `v` is computed from `from` by few nodes. */
function isFrom(v: Value, from: Value, depth = 4): boolean {
  return (
    v === from || (depth > 0 && (v.producer?.inputs ?? []).some((x) => x !== undefined && isFrom(x, from, depth - 1)))
  );
}

/**
 * The numbers by which a model names its classes, where a table maps the index of the best class to a label; empty if
 * they are not known or no numbers, undefined if labels are indices.
 */
export function classLabels(output: Value): readonly number[] | undefined {
  for (let v: Value | undefined = output; v?.producer !== undefined && !isEnd(v); ) {
    const node: Node = v.producer;
    const [x, index] = node.inputs;
    if (['ai.onnx.ml.LabelEncoder', 'ai.onnx.ml.CategoryMapper'].includes(opKey(node))) return [];
    if (opKey(node) === 'ai.onnx.ml.ArrayFeatureExtractor') {
      const table = x === undefined ? undefined : constantTensor(x);
      const list = table === undefined || table.dtype === 'string' ? [] : (numbersOf(table) ?? []);
      if (list.length === 0 || list.some((label, i) => label !== i)) return list;
      v = index;
    } else if (opKey(node) === 'ArgMax') return undefined;
    else v = x;
  }
  return undefined;
}
