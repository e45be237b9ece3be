/**
 * `loraify.Joined`: adapted products that read the same value (query, key and value; gate and up), as one node whose weight is merged
 * once a step, W' = W + s·A·B. One product forward and one backward take the place of five for each layer, which pays where a batch
 * has more rows than a weight is wide; x·A is left for the gradient of B alone. The same mathematics, in another order.
 *
 * Inputs: x, then W, A, B and C (optional) of every part; attributes transW (W lies as [out, in]), scales and widths. One output a part.
 */
import { unsupportedShape } from '../../errors.ts';
import type { Builder } from '../../graph/builder.ts';
import { type Graph, Node, takePlace, type Value } from '../../graph/model.ts';
import { numbersOf, tensorOf } from '../../graph/tensor.ts';
import { adaptedForm, internalDomain, isAdapted } from '../dialect/adapted.ts';

export interface Part {
  readonly w: Value;
  readonly a: Value;
  readonly b: Value;
  readonly c: Value | undefined;
  readonly scale: number;
  readonly width: number;
}

export interface JoinedForm {
  readonly x: Value;
  readonly transW: number;
  readonly depth: number;
  readonly parts: readonly Part[];
}

const perPart = 4;

export const isJoined = (node: Node): boolean => node.domain === internalDomain && node.op === 'Joined';

export function joinedForm(node: Node): JoinedForm {
  const [x, ...rest] = node.inputs;
  const [scales, widths, transW] = ['scales', 'widths', 'transW'].map((name) => node.attrs.get(name));
  const parts = node.outputs.map((_, i): Part => {
    const [w, a, b, c] = rest.slice(perPart * i, perPart * (i + 1));
    const width = widths?.kind === 'ints' ? Number(widths.value[i]) : undefined;
    const scale = scales?.kind === 'floats' ? scales.value[i] : undefined;
    if (w === undefined || a === undefined || b === undefined || width === undefined || scale === undefined)
      throw new Error(`joined node "${node.label}" is incomplete`);
    return { w, a, b, c, scale, width };
  });
  const depth = parts[0]?.a.shape?.[0];
  if (x === undefined || typeof depth !== 'number')
    throw unsupportedShape('an adapter of unknown shape', { node: node.label });
  return { x, transW: transW?.kind === 'int' ? Number(transW.value) : 0, depth, parts };
}

/** Adapted float32 products become Joined ones, those with the same x one. In place, on the training form. */
export function joinAdapted(graph: Graph): void {
  const groups = new Map<string, Node[]>();
  const ids = new Map<Value, number>();
  for (const node of graph.nodes) {
    if (!isAdapted(node) || !fits(node)) continue;
    const { x, transW } = adaptedForm(node);
    const id = ids.get(x) ?? ids.size;
    ids.set(x, id);
    const key = `${id}/${transW}`;
    groups.set(key, [...(groups.get(key) ?? []), node]);
  }
  for (const nodes of groups.values()) {
    const [first] = nodes;
    if (first === undefined) continue;
    const forms = nodes.map(adaptedForm);
    // Nothing of a part that stands later may be needed between it and the first: all that they read are x and constants.
    const joined = new Node({
      op: 'Joined',
      domain: internalDomain,
      name: first.name,
      inputs: [forms[0]?.x, ...forms.flatMap(({ w, a, b, c }) => [w, a, b, c])],
      outputs: nodes.flatMap((n) => n.outputs.slice(0, 1)),
      attrs: [
        ['transW', { kind: 'int', value: forms[0]?.transW ?? 0 }],
        ['scales', { kind: 'floats', value: forms.map((f) => f.scale) }],
        ['widths', { kind: 'ints', value: nodes.map((n) => n.layer?.out ?? 0) }],
      ],
    });
    joined.metadata.set('loraify.grad_of', first.label);
    graph.insertAfter(first, joined);
    graph.removeAll(new Set(nodes));
    for (const o of joined.outputs) o.producer = joined;
  }
}

/** Float32, rows that are a matrix or can be, and a bias that is one number a column. */
function fits(node: Node): boolean {
  const { x, w, b, c, dropped } = adaptedForm(node);
  const width = b.shape?.[1];
  // Branches whose inputs differ cannot be merged into one weight.
  if (w === undefined || dropped !== undefined) return false;
  const isBias = c === undefined || (c.tensor !== undefined && c.shape?.length === 1 && c.shape[0] === width);
  return (
    x.dtype === 'float32' && w.dtype === 'float32' && w.tensor !== undefined && (x.shape?.length ?? 0) > 1 && isBias
  );
}

/** W + s·A·B of all parts beside each other: [depth, all widths], or its transpose where the weights lie so. */
export function mergedWeight(g: Builder, { parts, transW }: JoinedForm): Value {
  const merged = parts.map(({ w, a, b, scale }) =>
    transW === 1 ? g.Gemm(b, a, w, { alpha: scale, transA: 1, transB: 1 }) : g.Gemm(a, b, w, { alpha: scale }),
  );
  const [only] = merged;
  return merged.length === 1 && only !== undefined ? only : g.Concat(merged, { axis: transW === 1 ? 0 : 1 });
}

/** The biases beside each other; zeros for a part without one. */
function jointBias(g: Builder, { parts }: JoinedForm): Value | undefined {
  if (parts.every((p) => p.c === undefined)) return undefined;
  const vectors = parts.map((p) => p.c ?? g.constant('float32', [p.width], new Array<number>(p.width).fill(0)));
  const [only] = vectors;
  if (vectors.length === 1 && only !== undefined) return only;
  const values = vectors.flatMap((v) => (v.tensor === undefined ? [] : (numbersOf(v.tensor) ?? [])));
  const name = `${only?.name ?? 'bias'}.joint`;
  return g.tensor(name, tensorOf('float32', [values.length], values));
}

/** Matrix [rows, all widths] into its parts. */
export function columns(g: Builder, v: Value, widths: readonly number[]): Value[] {
  return widths.length === 1
    ? [v]
    : g.node({ op: 'Split', inputs: [v, g.ints(widths)], attrs: { axis: 1 }, outputs: widths.length });
}

export const sideBySide = (g: Builder, list: readonly Value[]): Value => {
  const [only] = list;
  return list.length === 1 && only !== undefined ? only : g.Concat(list, { axis: 1 });
};

/** In place; new nodes are detached until `graph.adopt()`. `leading` is the shape of a value with its last length replaced. */
export function lowerJoined(graph: Graph, g: Builder, leading: (g: Builder, v: Value, last: number) => Value): void {
  for (const node of graph.nodes.filter(isJoined)) {
    const form = joinedForm(node);
    const flat = form.x.shape?.length === 2;
    const [first] = node.outputs;
    g.within({ origin: first?.name ?? node.label, rule: 'lower/joined' }, () => {
      const x = flat ? form.x : g.Reshape(form.x, g.ints([-1, form.depth]));
      const y = g.Gemm(x, mergedWeight(g, form), jointBias(g, form), { transB: form.transW });
      const widths = form.parts.map((p) => p.width);
      columns(g, y, widths).forEach((part, i) => {
        const old = node.outputs[i];
        if (old === undefined) return;
        const out = flat ? part : g.Reshape(part, leading(g, form.x, widths[i] ?? 0));
        takePlace(old, out, [...graph.allGraphs()], '.adapted');
      });
    });
  }
}
