/**
 * Checks whether each row of a batch is computed independently: then a batch can be padded with rows whose labels do
 * not count, and loss and gradient are those of the other rows alone. Shapes decide: a value that depends on rows has
 * exactly one axis of rows, and no operator works along it.
 */
import { losses } from '../../../graph/choices/losses.ts';
import { cloneModel } from '../../../graph/clone.ts';
import { type Dim, type Graph, type Node, readsOf, tensorType, type Value } from '../../../graph/model.ts';
import { attrsOf, factsOf, kindOf, numberAttr, opKey } from '../../../graph/operators.ts';
import { changeLengths } from '../../normalize/bind/symbols.ts';
import { ample, positions, numbersIn as smallNumbers, smallOf } from '../../normalize/fold/small.ts';
import { divExact, evaluate, product, symbolsOf } from '../../shapes/dims.ts';
import { numbersIn, scalarIn } from '../../shapes/elements.ts';
import { inferShapes } from '../../shapes/index.ts';
import { axisIn } from '../../shapes/rule.ts';
import type { Prepared, Unplaced } from '../prepared.ts';
import type { Resolved } from './resolveLengths.ts';

/** A symbol that cannot occur in a source. */
const rows = '#rows';

/**
 * The reason why rows are not independent; undefined if they are.
 * @param fixed the graph with numbers, in which indices are constants.
 */
export function rowsMixed(prepared: Prepared, resolved: Resolved, fixed: Graph, batch: number): string | undefined {
  const { kind, tensor: name } = prepared.choice;
  if (losses[kind].over === 'model') return 'the model computes the loss itself';
  const { graph } = withRows(prepared, resolved);
  const tensor = [...graph.inputs, ...graph.nodes.flatMap((n) => n.outputs)].find((v) => v.name === name);
  if (tensor === undefined) return `"${name}" is not computed by the main graph`;
  const numbered = new Map(fixed.nodes.flatMap((n) => n.outputs.map((v) => [v.name, n] as const)));
  const inPlace = (n: Node): boolean => readsOwnRows(numbered.get(n.outputs[0]?.name ?? ''), n, batch);
  return mixing(graph, tensor, inPlace)?.reason;
}

/** The reason why rows are not independent, and whether a row certainly depends on others. */
export interface Mixing {
  readonly reason: string;
  readonly isCertain: boolean;
}

/**
 * Whether the entries along these axes of the inputs are computed independently in a graph with open dims, so that they
 * may be the rows of a batch; undefined if they are.
 */
export function mixedAlong(
  prepared: Unplaced,
  resolved: Pick<Resolved, 'symbols' | 'axes' | 'isRows'>,
): Mixing | undefined {
  const { graph } = withRows(prepared, resolved);
  const tensor = [...graph.inputs, ...graph.nodes.flatMap((n) => n.outputs)].find(
    (v) => v.name === prepared.choice.tensor,
  );
  return tensor === undefined
    ? { reason: `"${prepared.choice.tensor}" is not computed by the main graph`, isCertain: false }
    : mixing(graph, tensor, () => false);
}

function mixing(graph: Graph, tensor: Value, inPlace: (node: Node) => boolean): Mixing | undefined {
  const carrying = new Set<Value>(graph.inputs.filter((v) => axisOfRows(v) !== undefined));
  return (
    mixedIn(graph, needed(tensor), carrying, inPlace) ??
    (carrying.has(tensor) ? undefined : { reason: `"${tensor.name}" has no batch axis`, isCertain: false })
  );
}

/** A copy in which all batch axes have one symbol. */
function withRows(
  { model: from }: Unplaced,
  { symbols, axes, isRows }: Pick<Resolved, 'symbols' | 'axes' | 'isRows'>,
): { readonly graph: Graph } {
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
  // Declared sizes of results contain the number that was replaced.
  if (axes.some(({ input, axis }) => typeof input.shape?.[axis] === 'number'))
    for (const v of model.graph.nodes.flatMap((n) => n.outputs))
      if (v.dtype !== undefined && v.tensor === undefined) v.type = tensorType(v.dtype, undefined);
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

function mixedIn(
  graph: Graph,
  wanted: ReadonlySet<Node>,
  carrying: Set<Value>,
  inPlace: (node: Node) => boolean,
): Mixing | undefined {
  for (const node of graph.nodes) {
    if (!wanted.has(node) || kindOf(node) === 'shape' || !readsOf(node).some((v) => carrying.has(v))) continue;
    const reasonFor = (what: string, isCertain = false): Mixing => ({
      reason: `"${node.label}" (${node.op}) ${what}`,
      isCertain,
    });
    if (node.bodies.length > 0) return reasonFor('runs a body, which may mix them');
    // Indices may select each row itself.
    if (worksAlong(node, carrying) && !inPlace(node))
      return reasonFor(
        'works across them',
        (node.op !== 'Gather' && node.op !== 'GatherND') ||
          node.outputs[0]?.shape?.every((d) => d !== null && !hasRows(d)) === true,
      );
    if (cutsAnew(node)) return reasonFor('mixes rows');
    for (const [i, v] of node.outputs.entries()) {
      if (v.name === '' || (v.uses.size === 0 && i > 0)) continue;
      const count = v.shape?.filter(hasRows).length;
      // Duplicate rows do not change the results of these.
      if (count === 0 && (factsOf(node)?.idempotent === true || (node.op === 'DynamicQuantizeLinear' && i > 0)))
        continue;
      if (count !== 1)
        return reasonFor(
          count === 0 ? 'reduces over the batch' : 'has no known batch axis',
          // Scores between all pairs of rows, as in attention over them. The result of a recurrent operator may have
          // the size of its initial state.
          (kindOf(node) === 'matmul' || (count === 0 && kindOf(node) !== 'recurrent')) &&
            v.shape?.every((d) => d !== null) === true,
        );
      // The axis has a multiple of the rows, not a fraction of them.
      if (divExact(v.shape?.find(hasRows) ?? null, rows) === null) return reasonFor('mixes rows');
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
 * Whether a Reshape regroups elements into other rows, such as [3, rows] to [rows, 3]: independent rows keep the number
 * of elements before each. If the axis of rows is longer than the batch, rows may be its outer or its inner part.
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

function worksAlong(node: Node, carrying: ReadonlySet<Value>): boolean {
  const isRows = (v: Value | undefined, axis: number): boolean =>
    v !== undefined && carrying.has(v) && axisOfRows(v) === axisIn(axis, v.shape?.length ?? 0);
  const [x, second, , axes] = node.inputs;
  const facts = factsOf(node);
  const axis = numberAttr(node, 'axis') ?? -1;
  if (facts?.sampled === true)
    return node.inputs.some((v) => v !== undefined && carrying.has(v) && axisOfRows(v) !== 0);
  // Split is left to the check of its output dims. Concat has rows if any input has, the other operators if the first
  // one has.
  if (facts?.axis === 'one' && node.op !== 'Split')
    return (node.op === 'Concat' ? node.inputs : [x]).some((v) => isRows(v, axis));
  if (facts?.axis === 'onwards') return (axisOfRows(x) ?? 0) >= (axisIn(axis, x?.shape?.length ?? 0) ?? 0);
  if (facts?.kind === 'recurrent') return !isRows(x, numberAttr(node, 'layout') === 1 ? 0 : 1);
  switch (opKey(node)) {
    case 'GatherND':
      return attrsOf(node, 'GatherND').batch_dims === 0 && x !== undefined && carrying.has(x);
    case 'CumSum':
      return isRows(x, Number(scalarIn(second) ?? 0));
    case 'Slice':
      return (numbersIn(axes) ?? x?.shape?.map((_, i) => i) ?? []).some((a) => isRows(x, a));
    case 'MeanVarianceNormalization':
      return attrsOf(node, 'MeanVarianceNormalization').axes.some((a) => isRows(x, a));
    // All inputs and the result must have rows under one letter.
    case 'Einsum':
      return new Set(lettersOfRows(node, carrying)).size !== 1;
    case 'BatchNormalization':
      return attrsOf(node, 'BatchNormalization').training_mode === 1;
    default:
      return false;
  }
}

/** The letter for rows in each input of an Einsum, and in its result. */
function lettersOfRows(node: Node, carrying: ReadonlySet<Value>): (string | undefined)[] {
  const { equation = '' } = attrsOf(node, 'Einsum');
  const terms = equation.replaceAll(' ', '').split(/,|->/);
  const letter = (v: Value | undefined, term: string | undefined): string | undefined => term?.[axisOfRows(v) ?? -1];
  const result = equation.includes('->') ? [letter(node.outputs[0], terms.at(-1))] : [];
  return [...node.inputs.flatMap((v, i) => (v && carrying.has(v) ? [letter(v, terms[i])] : [])), ...result];
}

/**
 * Whether Gather or GatherND reads each row of its result from the row of the same index, as in the masks of exported
 * transformers and for the last token of each row.
 * @param fixed the node in the graph with numbers; absent if it was folded.
 * @param open the node in the graph with open rows.
 */
function readsOwnRows(fixed: Node | undefined, open: Node, batch: number): boolean {
  if (open.op !== 'Gather' && open.op !== 'GatherND') return false;
  if (fixed?.op !== open.op) return true;
  const at = axisOfRows(open.outputs[0]);
  const [x, indices] = fixed.inputs;
  const length = x?.shape?.[0];
  if (at === undefined || typeof length !== 'number' || (numberAttr(fixed, 'axis') ?? 0) !== 0) return false;
  // The first of several coordinates is the row.
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
