/** Common-subexpression elimination; removes Identity nodes. */
import { type Attr, type Graph, type Node, replaceUses, type Value } from '../../graph/model.ts';
import { isRandom } from '../../graph/operators.ts';

/**
 * Merges nodes that compute the same from the same inputs (a forward value that a gradient rule recomputes, shapes),
 * and removes Identity nodes that do not name a graph output. In place, each body separately; the first of equal nodes
 * stays.
 */
export function mergeCommonSubexpressions(graph: Graph): void {
  for (const node of graph.nodes) for (const body of node.bodies) mergeCommonSubexpressions(body);
  const outputs = new Set(graph.outputs);
  // Outputs of bodies are not in `Value.uses`, so they are looked up here.
  const handedOut = new Map<Value, Graph[]>();
  for (const n of graph.nodes)
    for (const body of n.bodies)
      for (const g of body.allGraphs()) for (const o of g.outputs) handedOut.set(o, [...(handedOut.get(o) ?? []), g]);
  const redirect = (node: Node, values: readonly (Value | undefined)[]): void => {
    node.outputs.forEach((o, i) => {
      const to = values[i];
      if (to === undefined || o === to) return;
      replaceUses(o, to);
      for (const g of handedOut.get(o) ?? [])
        g.outputs.forEach((b, j) => {
          if (b === o) g.outputs[j] = to;
        });
    });
    gone.add(node);
  };
  const gone = new Set<Node>();
  const ids = new Map<Value, number>();
  const id = (v: Value | undefined): string => {
    if (v === undefined) return '-';
    const known = ids.get(v) ?? ids.size;
    ids.set(v, known);
    return String(known);
  };
  const seen = new Map<string, Node>();
  for (const node of graph.nodes) {
    const [x] = node.inputs;
    const [y] = node.outputs;
    if (node.op === 'Identity' && node.domain === '' && x !== undefined && y !== undefined && !outputs.has(y)) {
      redirect(node, [x]);
      continue;
    }
    if (node.bodies.length > 0 || isRandom(node)) continue;
    const key = [
      node.domain,
      node.op,
      node.overload,
      node.inputs.map(id).join(),
      attrsKey(node),
      node.layer?.path,
    ].join('|');
    const twin = seen.get(key);
    const fits =
      twin !== undefined &&
      node.outputs.every((o, i) => o.name === '' || (twin.outputs[i] !== undefined && twin.outputs[i]?.name !== ''));
    if (twin === undefined || !fits) seen.set(key, node);
    else if (!node.outputs.some((o) => outputs.has(o))) redirect(node, twin.outputs);
  }
  graph.removeAll(gone);
}

const attrsKey = (node: Node): string =>
  [...node.attrs]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, attr]) => `${name}=${attrKey(attr)}`)
    .join(';');

const objects = new WeakMap<object, number>();
let objectCount = 0;

function attrKey(attr: Attr): string {
  switch (attr.kind) {
    case 'float':
    case 'int':
      return `${attr.kind}:${attr.value}`;
    case 'floats':
    case 'ints':
    case 'string':
      return `${attr.kind}:${attr.value.join()}`;
    case 'strings':
      return `strings:${attr.value.map((s) => s.join()).join('/')}`;
    default: {
      // Attributes of other kinds are equal only to themselves.
      const known = objects.get(attr) ?? objectCount++;
      objects.set(attr, known);
      return `object:${known}`;
    }
  }
}
