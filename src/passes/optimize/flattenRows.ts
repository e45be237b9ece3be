/**
 * Flattens activations to matrices. Exporters keep [batch, sequence, width] everywhere, but a MatMul with a weight runs
 * on rows, so every MatMul is between two Reshapes. Operators along the last axis alone (elementwise, normalizations,
 * sums over the last axis) are moved to rows [batch·sequence, width], so that the Reshapes become adjacent and cancel.
 * A node costs 9 us of host time on CUDA.
 */

import type { Builder } from '../../graph/builder.ts';
import { type Dim, type Graph, Node, replaceUses, Value } from '../../graph/model.ts';
import type { OpKind } from '../../graph/operatorRow.ts';
import { attrsOf, factsOf, kindOf, numberAttr } from '../../graph/operators.ts';
import { axesOf } from '../common/reductionAxes.ts';
import { sameShape } from '../common/shapeTools.ts';
import { mul } from '../shapes/dims.ts';

/** In place, over the main graph; new nodes are detached until `graph.adopt()`. */
export function flattenRows(graph: Graph, g: Builder): void {
  const form = choose(graph);
  const rows = new Map<Value, Value>();
  const shapes = new Map<string, Value>();

  const leading = (shape: readonly Dim[]): string => JSON.stringify(shape.slice(0, -1));
  const rowsOf = (v: Value): Value => {
    const found = rows.get(v) ?? matrixBehind(v);
    if (found !== undefined) return found;
    const made = g.within({ origin: v.name, rule: 'rows' }, () => g.Reshape(v, g.ints([-1, widthOf(v) ?? 1])));
    rows.set(v, made);
    return made;
  };
  /** An int64 vector with this shape, if all dims but one are numbers or symbols of the inputs. */
  const shapeVector = (shape: readonly Dim[]): Value | undefined => {
    const key = JSON.stringify(shape);
    const known = shapes.get(key);
    if (known !== undefined) return known;
    const open = shape.filter((d) => typeof d !== 'number').length;
    const parts = shape.map((d) => {
      if (typeof d === 'number') return g.ints([d]);
      return open === 1 ? g.ints([-1]) : d === null ? undefined : g.symbol(d);
    });
    const all = parts.filter((p) => p !== undefined);
    if (all.length !== shape.length) return undefined;
    const made =
      open <= 1
        ? g.ints(shape.map((d) => (typeof d === 'number' ? d : -1)))
        : g.within({ origin: `shape.${leading(shape).replace(/[^\w]+/g, '_')}`, rule: 'rows' }, () =>
            g.Concat(all, { axis: 0 }),
          );
    shapes.set(key, made);
    return made;
  };

  for (const node of [...graph.nodes]) {
    if (!form.has(node)) continue;
    if (node.outputs.some((o) => o.name !== '' && o.shape !== undefined && shapeVector(o.shape) === undefined))
      continue;
    const inputs = node.inputs.map((v) => (v === undefined || !isWide(v) ? v : rowsOf(v)));
    const outputs = node.outputs.map((o) => new Value(o.name === '' ? '' : `${o.name}.rows`));
    const made = new Node({ op: node.op, domain: node.domain, name: node.name, inputs, outputs, attrs: node.attrs });
    for (const [k, v] of node.metadata) made.metadata.set(k, v);
    if (alongAxis(node)) made.attrs.set('axis', { kind: 'int', value: partsAxis(node) ? 1 : -1 });
    if (kindOf(node) === 'reduction') made.setInput(1, g.ints([1]));
    g.own(made);
    node.outputs.forEach((o, i) => {
      const row = made.outputs[i];
      if (row === undefined || o.name === '') return;
      rows.set(o, row);
    });
  }
  // Readers that need the old shape get one Reshape; readers that need the matrix read it directly.
  for (const [v, row] of rows) {
    if (v.producer === undefined || !form.has(v.producer)) continue;
    let back: Value | undefined;
    const old = (): Value => {
      const shape = shapeVector(v.shape ?? []);
      back ??= g.within({ origin: v.name, rule: 'rows' }, () => (shape === undefined ? row : g.Reshape(row, shape)));
      return back;
    };
    for (const use of [...v.uses]) {
      if (form.has(use.node) && rows.has(use.node.outputs[0] ?? v)) continue;
      const out = use.node.outputs[0];
      if (isToRows(use.node) && out !== undefined && !graph.outputs.includes(out)) replaceUses(out, row);
      else use.node.setInput(use.index, old());
    }
    graph.outputs.forEach((o, i) => {
      if (o !== v) return;
      const out = old();
      const { name } = v;
      v.name = `${name}.kept`;
      out.name = name;
      graph.outputs[i] = out;
    });
  }
}

/**
 * Merges a Reshape of a Reshape into one if the second gives all its dims itself, and removes both if they restore the
 * shape. In place.
 */
export function joinReshapes(graph: Graph): void {
  const outputs = new Set(graph.outputs);
  for (const node of graph.nodes) {
    const [middle, shape] = node.inputs;
    const [y] = node.outputs;
    const before = middle?.producer;
    const [from] = before?.inputs ?? [];
    if (node.op !== 'Reshape' || before?.op !== 'Reshape' || from === undefined || before.graph !== graph) continue;
    if (y !== undefined && !outputs.has(y) && sameShape(from.shape, y.shape)) {
      replaceUses(y, from);
      continue;
    }
    // A zero copies the dim of the input at the same position.
    const copies =
      attrsOf(node, 'Reshape').allowzero === 0 && (shape?.elements === undefined || shape.elements.includes(0));
    if (!copies) node.setInput(0, from);
  }
}

/** Nodes to run on [rows, width]: every large operand has that form already, and a consumer uses it. */
function choose(graph: Graph): Set<Node> {
  const can = new Set<Node>();
  // A chain that begins behind the embeddings gets one Reshape for all nodes after it.
  const entries = new Set<Value>();
  const available = (v: Value): boolean =>
    (v.producer !== undefined && can.has(v.producer)) ||
    entries.has(v) ||
    matrixBehind(v) !== undefined ||
    [...v.uses].some((u) => u.index === 0 && isToRows(u.node));
  for (const node of graph.nodes) {
    if (!fits(node)) continue;
    const wide = node.inputs.flatMap((v) => (v !== undefined && isWide(v) ? [v] : []));
    const [first] = wide;
    if (first !== undefined && isNormalization(node) && !available(first)) entries.add(first);
    if (wide.length > 0 && wide.every(available)) can.add(node);
  }
  const wanted = new Set<Node>();
  for (const node of graph.nodes.toReversed())
    if (can.has(node) && node.outputs.some((o) => [...o.uses].some((u) => isToRows(u.node) || wanted.has(u.node))))
      wanted.add(node);
  return wanted;
}

/**
 * Whether a node computes the same on rows: it works along the last axis alone, and all its wide values have the same
 * leading dims.
 */
function fits(node: Node): boolean {
  if (node.bodies.length > 0) return false;
  const wide = [...node.inputs, ...node.outputs].filter((v) => v !== undefined && v.name !== '' && isWide(v));
  const [first, ...others] = wide;
  const shape = first?.shape;
  if (first === undefined || shape === undefined || !node.outputs.every((o) => o.name === '' || isWide(o)))
    return false;
  const lead = shape.slice(0, -1);
  if (!others.every((v) => sameShape(v?.shape?.slice(0, -1), lead)) || lead.includes(null)) return false;
  if (wide.some((v) => widthOf(v) === undefined)) return false;
  const small = node.inputs.filter((v) => v !== undefined && !isWide(v));
  const isSmall = (v: Value | undefined): boolean => (v?.shape?.length ?? 2) <= 1;
  if (kindOf(node) === 'elementwise') return small.every(isSmall);
  if (kindOf(node) === 'reduction') return numberAttr(node, 'keepdims') === 1 && isLast(axesOf(node), shape.length);
  return alongAxis(node) && isLast([numberAttr(node, 'axis') ?? -1], shape.length);
}

/** Operators that work on whole rows if their axis is the last. */
const alongAxis = (node: Node): boolean => worksAlong(node, 'softmax') || isNormalization(node) || partsAxis(node);
const isNormalization = (node: Node): boolean => worksAlong(node, 'normalization');
const worksAlong = (node: Node, kind: OpKind): boolean => kindOf(node) === kind && factsOf(node)?.axis !== undefined;
const partsAxis = ({ op, domain }: Node): boolean => domain === '' && (op === 'Split' || op === 'Concat');

const isLast = (axes: readonly number[] | undefined, rank: number): boolean =>
  axes?.length === 1 && (axes[0] === -1 || axes[0] === rank - 1);

/** Whether a value has three or more axes. */
const isWide = (v: Value): boolean => (v.shape?.length ?? 0) > 2;

function widthOf(v: Value | undefined): number | undefined {
  const last = v?.shape?.at(-1);
  return typeof last === 'number' && last > 0 ? last : undefined;
}

/** [..., width] to [rows, width]. */
function isToRows({ op, domain, inputs: [from], outputs: [to] }: Node): boolean {
  if (op !== 'Reshape' || domain !== '' || from === undefined || to === undefined || !isWide(from)) return false;
  return to.shape?.length === 2 && widthOf(from) !== undefined && to.shape[1] === widthOf(from);
}

/** The matrix that v is a Reshape of, with rows of v's width. */
function matrixBehind(v: Value): Value | undefined {
  const [from] = v.producer?.op === 'Reshape' && v.producer.domain === '' ? v.producer.inputs : [];
  const [count, width] = from?.shape ?? [];
  if (from?.shape?.length !== 2 || width === undefined || width !== widthOf(v)) return undefined;
  const lead = v.shape?.slice(0, -1).reduce<Dim>(mul, 1);
  return count === lead || count === null ? from : undefined;
}
