/**
 * Whether each row of a batch is computed by itself: then a batch can be filled up with rows whose labels do not count, and loss and
 * gradient are those of the others alone. Told by shapes: what depends on rows has one axis of them, and no operator works along it.
 */
import { losses } from '../../../graph/choices/losses.ts';
import { cloneModel } from '../../../graph/clone.ts';
import { type Dim, type Graph, type Node, readsOf, tensorType, type Value } from '../../../graph/model.ts';
import { attrsOf, opKey } from '../../../graph/operators.ts';
import { changeLengths } from '../../normalize/bind/symbols.ts';
import { ample, positions, numbersIn as smallNumbers, smallOf } from '../../normalize/fold/small.ts';
import { divExact, evaluate, product, symbolsOf } from '../../shapes/dims.ts';
import { numbersIn, scalarIn } from '../../shapes/elements.ts';
import { inferShapes } from '../../shapes/index.ts';
import { axisIn } from '../../shapes/rule.ts';
import type { Prepared } from '../prepared.ts';
import type { Resolved } from './resolveLengths.ts';

/** A symbol that no source has. */
const rows = '#rows';

/**
 * Why rows are not told apart; undefined where each is computed by itself.
 * @param fixed the graph with numbers, in which indices are constants.
 */
export function rowsMixed(prepared: Prepared, resolved: Resolved, fixed: Graph, batch: number): string | undefined {
  const { kind, tensor: name } = prepared.choice;
  if (losses[kind].over === 'model') return 'the model computes the loss itself';
  const { graph } = withRows(prepared, resolved);
  const tensor = [...graph.inputs, ...graph.nodes.flatMap((n) => n.outputs)].find((v) => v.name === name);
  if (tensor === undefined) return `"${name}" is not computed by the main graph`;
  const carrying = new Set<Value>(graph.inputs.filter((v) => axisOfRows(v) !== undefined));
  const numbered = new Map(fixed.nodes.flatMap((n) => n.outputs.map((v) => [v.name, n] as const)));
  const inPlace = (n: Node): boolean => readsOwnRows(numbered.get(n.outputs[0]?.name ?? ''), n, batch);
  return (
    mixedIn(graph, needed(tensor), carrying, inPlace) ??
    (carrying.has(tensor) ? undefined : `"${name}" has no row each`)
  );
}

/** A copy in which all batch axes have one symbol. */
function withRows({ model: from }: Prepared, { symbols, axes, isRows }: Resolved): { readonly graph: Graph } {
  const { model, map } = cloneModel(from);
  const isOpen = (d: Dim): d is string => typeof d === 'string';
  const settled = (d: Dim): Dim => {
    if (!isOpen(d)) return d;
    if (isRows(d)) return rows;
    const all = symbolsOf(d);
    if (all.some(isRows)) return null;
    return all.some((s) => symbols.has(s)) ? (evaluate(d, symbols) ?? null) : d;
  };
  changeLengths(model, settled);
  for (const { input, axis, length, name } of axes) {
    const v = map.values.get(input);
    const d = name === 'batch' ? rows : length;
    if (v?.dtype !== undefined)
      v.type = tensorType(
        v.dtype,
        v.shape?.map((old, i) => (i === axis ? d : old)),
      );
  }
  inferShapes(model.graph);
  return model;
}

function needed(tensor: Value): Set<Node> {
  const found = new Set<Node>();
  const todo = tensor.producer === undefined ? [] : [tensor.producer];
  for (let n = todo.pop(); n !== undefined; n = todo.pop()) {
    if (found.has(n)) continue;
    found.add(n);
    for (const v of readsOf(n)) if (v.producer !== undefined) todo.push(v.producer);
  }
  return found;
}

/** Rows that are copies of others do not change what these give. */
const extremes = new Set(['ReduceMax', 'ReduceMin']);
const shapeOnly = new Set(['Shape', 'Size']);

function mixedIn(
  graph: Graph,
  wanted: ReadonlySet<Node>,
  carrying: Set<Value>,
  inPlace: (node: Node) => boolean,
): string | undefined {
  for (const node of graph.nodes) {
    if (!wanted.has(node) || shapeOnly.has(node.op) || !readsOf(node).some((v) => carrying.has(v))) continue;
    const says = (what: string): string => `"${node.label}" (${node.op}) ${what}`;
    if (node.bodies.length > 0) return says('runs a body, which may mix them');
    if (worksAlong(node, carrying) && !inPlace(node)) return says('works across them');
    if (cutsAnew(node)) return says('mixes them');
    for (const [i, v] of node.outputs.entries()) {
      if (v.name === '' || (v.uses.size === 0 && i > 0)) continue;
      const count = v.shape?.filter(hasRows).length;
      if (count === 0 && (extremes.has(node.op) || (node.op === 'DynamicQuantizeLinear' && i > 0))) continue;
      if (count !== 1) return says(count === 0 ? 'makes one of all' : 'has no axis of them that is known');
      // Some of them for each row, not one for some rows.
      if (divExact(v.shape?.find(hasRows) ?? null, rows) === null) return says('mixes them');
      carrying.add(v);
    }
  }
  return undefined;
}

const hasRows = (d: Dim): boolean => symbolsOf(d).includes(rows);

const axisOfRows = (v: Value | undefined): number | undefined => {
  const at = v?.shape?.findIndex(hasRows) ?? -1;
  return at < 0 ? undefined : at;
};

/**
 * Whether a Reshape makes other rows of the same elements, as of [3, rows] [rows, 3]: a row begins behind as many elements as before.
 * Where the axis of rows holds more than them, they may be its outer or its inner part.
 */
function cutsAnew({ op, inputs: [x], outputs: [y] }: Node): boolean {
  if ((op !== 'Reshape' && op !== 'Flatten') || !x?.shape || !y?.shape) return false;
  const [from, to] = [x, y].map((v) => {
    const at = axisOfRows(v);
    return at === undefined
      ? undefined
      : { before: product(v.shape?.slice(0, at) ?? []), beside: divExact(v.shape?.[at] ?? null, rows) };
  });
  if (from === undefined || to === undefined || from.before === null || to.before === null) return false;
  const within = (a: typeof from, b: typeof from): boolean => {
    const more = divExact(a.before, b.before);
    return more !== null && divExact(b.beside, more) !== null;
  };
  return !within(from, to) && !within(to, from);
}

/** Operators that work along the axis, or the axes, that an attribute or an input names. */
const alongAttribute = new Set([
  'Softmax',
  'LogSoftmax',
  'Hardmax',
  'LpNormalization',
  'TopK',
  'Gather',
  'GatherElements',
  'ScatterElements',
  'Concat',
  'ArgMax',
  'ArgMin',
]);
const defaults: Readonly<Record<string, number>> = {
  Gather: 0,
  GatherElements: 0,
  ScatterElements: 0,
  ArgMax: 0,
  ArgMin: 0,
};
const normalizing = new Set(['LayerNormalization', 'RMSNormalization', 'SimplifiedLayerNormalization']);
const recurrent = new Set(['LSTM', 'GRU', 'RNN']);
/** Their first axis counts samples; along the others they work as windows, statistics, or positions that see one another. */
const sampled = new Set([
  ...['Conv', 'ConvTranspose', 'DeformConv', 'ConvInteger', 'QLinearConv'],
  ...['AveragePool', 'MaxPool', 'LpPool', 'MaxUnpool', 'LRN', 'InstanceNormalization', 'GroupNormalization'],
  ...['Resize', 'GridSample', 'DepthToSpace', 'SpaceToDepth', 'Attention'],
  ...['Attention', 'MultiHeadAttention', 'GroupQueryAttention'].map((op) => `com.microsoft.${op}`),
]);

function worksAlong(node: Node, carrying: ReadonlySet<Value>): boolean {
  const key = opKey(node);
  const int = (name: string): number | undefined => {
    const attr = node.attrs.get(name);
    return attr?.kind === 'int' ? Number(attr.value) : undefined;
  };
  const isRows = (v: Value | undefined, axis: number): boolean =>
    v !== undefined && carrying.has(v) && axisOfRows(v) === axisIn(axis, v.shape?.length ?? 0);
  const [x, second, , axes] = node.inputs;
  if (sampled.has(key)) return node.inputs.some((v) => v !== undefined && carrying.has(v) && axisOfRows(v) !== 0);
  if (alongAttribute.has(key)) {
    const axis = int('axis') ?? defaults[key] ?? -1;
    // Concat joins what any of its inputs has, the others move about what the first one has.
    return (key === 'Concat' ? node.inputs : [x]).some((v) => isRows(v, axis));
  }
  if (key === 'GatherND' && (int('batch_dims') ?? 0) === 0) return x !== undefined && carrying.has(x);
  // All axes from this one on.
  if (normalizing.has(key)) return (axisOfRows(x) ?? 0) >= (axisIn(int('axis') ?? -1, x?.shape?.length ?? 0) ?? 0);
  if (key === 'CumSum') return isRows(x, Number(scalarIn(second) ?? 0));
  if (key === 'Slice') return (numbersIn(axes) ?? x?.shape?.map((_, i) => i) ?? []).some((a) => isRows(x, a));
  if (key === 'MeanVarianceNormalization') return (ints(node, 'axes') ?? [0, 2, 3]).some((a) => isRows(x, a));
  // Rows under one letter, which the result has.
  if (key === 'Einsum') return new Set(lettersOfRows(node, carrying)).size !== 1;
  if (key === 'BatchNormalization') return int('training_mode') === 1;
  if (recurrent.has(key)) return !isRows(x, int('layout') === 1 ? 0 : 1);
  return false;
}

const ints = ({ attrs }: Node, name: string): readonly number[] | undefined => {
  const attr = attrs.get(name);
  return attr?.kind === 'ints' ? attr.value.map(Number) : undefined;
};

/** What the equation of an Einsum calls the rows of each input, and of the result. */
function lettersOfRows(node: Node, carrying: ReadonlySet<Value>): (string | undefined)[] {
  const { equation = '' } = attrsOf(node, 'Einsum');
  const terms = equation.replaceAll(' ', '').split(/,|->/);
  const letter = (v: Value | undefined, term: string | undefined): string | undefined => term?.[axisOfRows(v) ?? -1];
  const result = equation.includes('->') ? [letter(node.outputs[0], terms.at(-1))] : [];
  return [...node.inputs.flatMap((v, i) => (v && carrying.has(v) ? [letter(v, terms[i])] : [])), ...result];
}

/**
 * Each row of a result of Gather or GatherND is read from the row of the same number, as the masks of exported transformers have it, and
 * the last token of each row. @param fixed the node with numbers; it is gone where nothing was left of it. @param open where rows are.
 */
function readsOwnRows(fixed: Node | undefined, open: Node, batch: number): boolean {
  if (open.op !== 'Gather' && open.op !== 'GatherND') return false;
  if (fixed?.op !== open.op) return true;
  const at = axisOfRows(open.outputs[0]);
  const [x, indices] = fixed.inputs;
  const length = x?.shape?.[0];
  if (at === undefined || typeof length !== 'number' || Number(fixed.attrs.get('axis')?.value ?? 0) !== 0) return false;
  // Of several coordinates the first one says the row.
  const joined = indices?.producer?.op === 'Concat' ? indices.producer.inputs[0] : indices;
  const known = smallOf(joined, ample);
  const list = known === undefined ? undefined : smallNumbers(known.values);
  if (known === undefined || list === undefined) return false;
  const own = open.op === 'GatherND' ? (known.dims.at(-1) ?? 1) : 1;
  const dims = open.op === 'GatherND' ? known.dims.slice(0, -1) : known.dims;
  if (dims[at] !== batch || own === 0) return false;
  return Array.from(positions(dims), (place) => place[at]).every(
    (row, i) => Math.floor(((list[i * own] ?? -1) * batch) / length) === row,
  );
}
