/**
 * Converts every Adapted node of a training graph to its one training form (dialect/table.ts): the weight on the right,
 * read where it is stored, activations in rows. A weight on the left becomes one on the right by yᵀ = xᵀ·Wᵀ; Gemm's
 * flags and alpha become separate nodes. A branch becomes an Adapted node without a base if it is a MatMul over the
 * last axis, plain operators otherwise. With dropout a branch reads its own input with dropped elements.
 */
import { unsupportedShape } from '../../errors.ts';
import type { Builder } from '../../graph/builder.ts';
import { constant, type Graph, type Node, replaceValue, Value } from '../../graph/model.ts';
import { isFloat } from '../../graph/tensor.ts';
import { added, asType } from '../common/computeType.ts';
import { rewriteNodes } from '../common/rewriteNodes.ts';
import { isAdapted } from '../dialect/adapted.ts';
import { branchForm, isBranch } from '../dialect/branch.ts';
import { type Dropper, dropper } from '../dialect/dropout.ts';
import { dialectNode, formOf, layerOf } from '../dialect/nodes.ts';
import { kindNamed } from '../select/layers/index.ts';

/** In place, bodies included; detached nodes of the main graph join through `graph.adopt()` afterwards. */
export function canonicalize(graph: Graph, g: Builder, dropout = 0): void {
  const site: Site = {
    graphs: [...graph.allGraphs()],
    views: new Map(),
    drop: dropout > 0 ? dropper(dropout) : undefined,
    keep: dropout > 0 ? 1 - dropout : undefined,
  };
  rewriteNodes(
    graph,
    g,
    (node) => isAdapted(node) || isBranch(node),
    (node, builder) => (isBranch(node) ? writeOut : rewrite)(node, builder, site),
  );
}

interface Site {
  readonly graphs: readonly Graph[];
  readonly views: Map<string, Value>;
  readonly drop: Dropper | undefined;
  /** The share of elements that dropout keeps. */
  readonly keep: number | undefined;
}

/** y + branch: the scale is folded into B, which is smaller than any activation. */
function writeOut(node: Node, g: Builder, { graphs, drop, keep }: Site): void {
  const { y, x, a, b, layer } = branchForm(node);
  const kind = kindNamed(layer.op);
  const [out] = node.outputs;
  if (out === undefined || kind?.branch === undefined) return;
  const { branch, overLastAxis, drops } = kind;
  const depth = layer.in;
  const sum = g.within({ origin: out.name, rule: 'canonical/branch' }, () => {
    if (overLastAxis === true) {
      const made = dialectNode(
        'loraify.Adapted',
        { base: layer.op, keep },
        {
          name: node.name,
          inputs: [x, undefined, a, b, y, ...(drop === undefined ? [] : [drop.rows(g, x, depth, layer.path)])],
          outputs: [new Value(`${out.name}.adapted`)],
        },
      );
      made.layer = layer;
      return g.own(made).outputs[0] ?? y;
    }
    const wide = (v: Value): Value => (v.dtype !== undefined && isFloat(v.dtype) ? asType(g, v, 'float32') : v);
    const scaled = layer.scale === 1 ? b : g.Mul(b, g.float(layer.scale));
    const read = drops === true && drop !== undefined ? drop.image(g, wide(x), layer.path) : x;
    return added(g, y, branch({ g, node, x: read, a, b: scaled, wide }));
  });
  // The loss is chosen among values that depend on a layer, and reports name the layer.
  if (sum.producer !== undefined) sum.producer.layer = layer;
  replaceResult(out, sum, graphs);
}

function rewrite(node: Node, g: Builder, { graphs, views, drop, keep }: Site): void {
  const {
    inputs: [x, operand, a0, b0, c],
    outputs: [y],
    attrs: { alpha, beta, flip: flipped, side, transA, transB },
  } = formOf(node, 'loraify.Adapted');
  if (operand === undefined) return;
  const layer = layerOf(node);
  const flip = flipped === 1;
  const label = node.label;
  g.within({ origin: y.name, rule: 'canonical/adapted' }, () => {
    const turn = (v: Value): Value => transposed(g, v, label);
    const [a, b] = flip ? [turn(b0), turn(a0)] : [a0, b0];
    const isVector = x.shape?.length === 1;
    // Right: x, or its transpose for transA. Left: the columns of the right factor are the rows.
    const rows = side === 0 ? (transA === 1 ? turn(x) : x) : transB === 1 || isVector ? x : turn(x);
    const { w, transW } = storedWeight(
      g,
      operand,
      side === 0 ? transB : 1 - transA,
      flip ? layer.layout !== 'out_in' : layer.layout === 'out_in',
      flip ? [layer.out, layer.in] : [layer.in, layer.out],
      views,
    );
    const plain = side === 0 && alpha === 1 && beta === 1;
    const dropped = drop?.rows(g, rows, flip ? layer.out : layer.in, layer.path);
    const bare = plain && c !== undefined ? [rows, w, a, b, c] : [rows, w, a, b];
    const made = dialectNode(
      'loraify.Adapted',
      { base: 'MatMul', side: 0, transW, keep },
      {
        name: node.name,
        inputs: dropped === undefined ? bare : [rows, w, a, b, bare[4], dropped],
        outputs: [new Value(`${y.name}.adapted`)],
      },
    );
    made.layer = layer;
    for (const [k, v] of node.metadata) made.metadata.set(k, v);
    const [product] = g.own(made).outputs;
    if (product === undefined) return;
    const oriented = side === 0 || isVector ? product : turn(product);
    const scaled = alpha === 1 ? oriented : g.Mul(oriented, g.like(oriented, alpha));
    const bias = c === undefined || plain ? undefined : beta === 1 ? c : g.Mul(c, g.like(c, beta));
    const result = bias === undefined ? scaled : g.Add(scaled, bias);
    replaceResult(y, result, graphs);
  });
}

/** Replaces y by `result`, which gets its name. */
function replaceResult(y: Value, result: Value, graphs: readonly Graph[]): void {
  result.type ??= y.type;
  replaceValue(y, result, graphs);
  const { name } = y;
  y.name = `${name}.replaced`;
  result.name = name;
}

/**
 * The stored tensor itself if only Identity, Transpose and Reshape are in between (a view with its dims set, no copy),
 * else the last computed form of it.
 */
function storedWeight(
  g: Builder,
  operand: Value,
  trans: number,
  storedOutIn: boolean,
  [depth, width]: readonly [number, number],
  views: Map<string, Value>,
): { w: Value; transW: number } {
  let flipped = trans === 1;
  let at = operand;
  while (at.tensor === undefined && at.producer !== undefined) {
    const { op, inputs } = at.producer;
    const [source] = inputs;
    if (source === undefined || (op !== 'Identity' && op !== 'Transpose' && op !== 'Reshape')) break;
    if (op === 'Transpose' && at.producer.inputs[0]?.shape?.length === 2) flipped = !flipped;
    else if (op !== 'Identity') {
      const stored = constantBehind(at);
      if (stored === undefined) break;
      at = stored;
      break;
    }
    at = source;
  }
  // A Cast behind a layout change can also be applied before it.
  const laid = at.producer?.op === 'Cast' ? at.producer.inputs[0] : undefined;
  if (laid !== undefined && laid.tensor === undefined && constantBehind(laid) !== undefined) {
    const { w, transW } = storedWeight(g, laid, 0, storedOutIn, [depth, width], views);
    return { w: asType(g, w, at.dtype), transW };
  }
  if (at.tensor === undefined) return { w: at, transW: flipped ? 1 : 0 };
  const dims = storedOutIn ? [width, depth] : [depth, width];
  if (at.tensor.dims.join() === dims.join()) return { w: at, transW: storedOutIn ? 1 : 0 };
  const key = `${at.name}:${dims.join()}`;
  const view = views.get(key) ?? constant(`${at.name}.matrix`, { ...at.tensor, dims });
  views.set(key, view);
  return { w: view, transW: storedOutIn ? 1 : 0 };
}

/** The initializer behind a chain of pure layout changes; undefined if any other node is in between. */
function constantBehind(value: Value): Value | undefined {
  let at = value;
  while (at.tensor === undefined) {
    const op = at.producer?.op;
    const source = at.producer?.inputs[0];
    if (source === undefined || (op !== 'Identity' && op !== 'Transpose' && op !== 'Reshape')) return undefined;
    at = source;
  }
  return at;
}

function transposed(g: Builder, v: Value, label: string): Value {
  const rank = v.shape?.length;
  if (rank === undefined) throw unsupportedShape(`the rank of "${v.name}" is not known`, { node: label });
  if (rank < 2) return v;
  const perm = Array.from({ length: rank }, (_, i) => i);
  return g.Transpose(v, { perm: [...perm.slice(0, rank - 2), rank - 1, rank - 2] });
}
