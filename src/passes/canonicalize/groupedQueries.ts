/**
 * GroupQueryAttention in the form that ONNX Runtime's CPU provider loads and runs without a cache. Release 1.30 infers
 * a width of 0 for a packed query whose width it does not know, and then refuses the graph; it has no CPU kernel that
 * normalizes queries and keys, and none for a cache that is a window but is not there. In a training graph the operator
 * therefore has separate queries, keys and values, and normalizations are nodes of their own.
 */
import type { Builder } from '../../graph/builder.ts';
import { type Graph, type Node, takePlace, type Value } from '../../graph/model.ts';
import { attrsOf } from '../../graph/operators.ts';
import { dataTypeNumber } from '../../graph/tensor.ts';
import { rewriteNodes } from '../common/rewriteNodes.ts';

/** Positions among the inputs. */
const at = { query: 0, key: 1, value: 2, past: 3, queryNorm: 14, keyNorm: 15 } as const;
/** In a graph without a cache the attribute makes no difference to the results. */
const windowed = 'sliding_window_cache';
/** Those of the norms, some of which release 1.30 does not know. */
const epsilons: ReadonlySet<string> = new Set(['qk_norm_epsilon', 'q_norm_epsilon', 'k_norm_epsilon']);

/** In place, bodies included; new nodes of the main graph are detached until `graph.adopt()`. */
export function plainGroupedQueries(graph: Graph, builder: Builder): void {
  const graphs = [...graph.allGraphs()];
  rewriteNodes(graph, builder, isSpecial, (node, g) => {
    const origin = node.outputs[0]?.name ?? node.label;
    const inputs = g.within({ origin, rule: 'heads/apart' }, () => operands(node, g));
    const made = g.node({ op: node.op, domain: node.domain, inputs, outputs: node.outputs.length });
    const heir = made[0]?.producer;
    if (heir === undefined) return;
    heir.name = node.name;
    heir.docString = node.docString;
    const isLeft = (name: string): boolean =>
      (name === windowed && !hasPast(node)) || (epsilons.has(name) && heir.inputs[at.queryNorm] === undefined);
    for (const [name, attr] of node.attrs) if (!isLeft(name)) heir.attrs.set(name, attr);
    for (const [name, value] of node.metadata) heir.metadata.set(name, value);
    for (const [i, v] of made.entries()) {
      const y = node.outputs[i];
      if (y === undefined) continue;
      v.type = y.type;
      takePlace(y, v, graphs, '.packed');
    }
  });
}

const isSpecial = (node: Node): boolean =>
  node.domain === 'com.microsoft' &&
  node.op === 'GroupQueryAttention' &&
  (widthsOf(node) !== undefined || isNormalized(node) || (node.attrs.has(windowed) && !hasPast(node)));

/** Whether the operator normalizes queries and keys that are, or can be made, separate values. */
const isNormalized = (node: Node): boolean =>
  node.inputs[at.queryNorm] !== undefined &&
  node.inputs[at.keyNorm] !== undefined &&
  (node.inputs[at.key] !== undefined || widthsOf(node) !== undefined);

/** Whether there may be earlier keys. */
const hasPast = ({ inputs }: Node): boolean => inputs[at.past] !== undefined;

/** The widths of query, key and value in a packed query; undefined if it is not packed, or its width is not known. */
function widthsOf(node: Node): readonly number[] | undefined {
  if (node.inputs[at.key] !== undefined) return undefined;
  const width = node.inputs[at.query]?.shape?.at(-1);
  const { num_heads: heads = 1, kv_num_heads: groups = 1 } = attrsOf(node, 'com.microsoft.GroupQueryAttention');
  if (typeof width !== 'number' || width % (heads + 2 * groups) !== 0) return undefined;
  const size = width / (heads + 2 * groups);
  return [heads * size, groups * size, groups * size];
}

/** The inputs of the new node. */
function operands(node: Node, g: Builder): readonly (Value | undefined)[] {
  const inputs = [...node.inputs];
  const [packed, widths] = [inputs[at.query], widthsOf(node)];
  if (packed !== undefined && widths !== undefined) {
    const parts = g.node({ op: 'Split', inputs: [packed, g.ints(widths)], attrs: { axis: -1 }, outputs: 3 });
    for (const [i, to] of [at.query, at.key, at.value].entries()) inputs[to] = parts[i];
  }
  if (!isNormalized(node)) return inputs;
  const attrs = attrsOf(node, 'com.microsoft.GroupQueryAttention');
  for (const [x, weight, heads, own] of [
    [at.query, at.queryNorm, attrs.num_heads ?? 1, attrs.q_norm_epsilon],
    [at.key, at.keyNorm, attrs.kv_num_heads ?? 1, attrs.k_norm_epsilon],
  ] as const) {
    const [v, scale, epsilon] = [inputs[x], inputs[weight], own ?? attrs.qk_norm_epsilon];
    if (v !== undefined && scale !== undefined) inputs[x] = normalizedHeads(g, v, { scale, heads, epsilon });
    inputs[weight] = undefined;
  }
  return inputs;
}

interface HeadNorm {
  /** [size] */
  readonly scale: Value;
  readonly heads: number;
  readonly epsilon: number;
}

/** The root mean square norm of each head of [batch, sequence, heads·size], computed in float32. */
function normalizedHeads(g: Builder, x: Value, { scale, heads, epsilon }: HeadNorm): Value {
  const to = dataTypeNumber('float32');
  const wide = (v: Value): Value => (v.dtype === 'float32' ? v : g.Cast(v, { to }));
  const apart = g.Reshape(wide(x), g.ints([0, 0, heads, -1]));
  const average = g.ReduceMean(g.Mul(apart, apart), g.ints([-1]), { keepdims: 1 });
  const n = g.Div(apart, g.Sqrt(g.Add(average, g.like(average, epsilon))));
  const y = g.Reshape(g.Mul(n, wide(scale)), g.ints([0, 0, -1]));
  return x.dtype === 'float32' ? y : g.CastLike(y, x);
}
