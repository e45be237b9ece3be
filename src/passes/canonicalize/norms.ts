/**
 * Normalizations as exporters write them out: n = c/sqrt(mean(c²) + e), with c = x for RMSNorm and c = x - mean(x) for LayerNorm, then scale and bias.
 * Seven to nine nodes with a gradient of twenty. Where a provider has both operators one node takes their place. Elsewhere an
 * internal node behind n carries it on.
 */
import { type Graph, Node, takePlace, Value } from '../../graph/model.ts';
import { numbersOf } from '../../graph/tensor.ts';
import { axesOf } from '../common/operatorSets.ts';
import { madeBy } from '../common/patterns.ts';
import { insertMarker } from '../dialect/customGradient.ts';

/** In place. The internal node `Standardized` has the inputs c, n and s = sqrt(mean(c²) + e). */
export function compactNorms(graph: Graph, fused: boolean): void {
  let replaced = false;
  for (const root of [...graph.nodes]) {
    const found = root.op === 'Sqrt' && root.domain === '' ? match(root) : undefined;
    if (found?.n.producer?.graph !== graph) continue;
    const whole = fused && found.n.dtype === 'float32' ? scaled(found) : undefined;
    if (whole === undefined) {
      insertMarker(graph, 'Standardized', [found.c, found.n, found.s]);
      continue;
    }
    const { c, x, epsilon } = found;
    const { scale, bias, y } = whole;
    const after = y.producer;
    if (after === undefined) continue;
    const out = new Value(y.name, y.type);
    const node = new Node({
      op: x === undefined ? 'SimplifiedLayerNormalization' : 'LayerNormalization',
      name: after.name,
      inputs: [x ?? c, scale, ...(bias === undefined ? [] : [bias])],
      outputs: [out],
      attrs: [
        ['axis', { kind: 'int', value: -1 }],
        ['epsilon', { kind: 'float', value: epsilon }],
      ],
    });
    takePlace(y, out, [graph], '.unfused');
    graph.insertAfter(after, node);
    replaced = true;
  }
  if (replaced) graph.prune();
}

interface Found {
  readonly c: Value;
  /** What c is the centred value of. */
  readonly x: Value | undefined;
  readonly n: Value;
  readonly s: Value;
  readonly epsilon: number;
}

function match({ inputs: [sum], outputs: [s] }: Node): Found | undefined {
  const added = madeBy(sum, 'Add');
  const epsilon = added?.inputs.map(scalar).find((e) => e !== undefined);
  const mean = added?.inputs.map(average).find((m) => m !== undefined);
  const square = mean?.producer;
  const [c, other] = square?.domain === '' ? square.inputs : [];
  if (s === undefined || epsilon === undefined || c === undefined) return undefined;
  const isSquare = square?.op === 'Mul' ? other === c : square?.op === 'Pow' && scalar(other) === 2;
  const n = isSquare ? quotient(c, s) : undefined;
  if (n === undefined) return undefined;
  const centred = madeBy(c, 'Sub')?.inputs ?? [];
  const x = centred[0] !== undefined && average(centred[1]) === centred[0] ? centred[0] : undefined;
  return { c, x, n, s, epsilon };
}

/** What a value is the mean of along the last axis, which stays. */
function average(v: Value | undefined): Value | undefined {
  const node = madeBy(v, 'ReduceMean');
  const [of] = node?.inputs ?? [];
  const keep = node?.attrs.get('keepdims');
  const [axis, ...more] = (node && axesOf(node)) ?? [];
  const last = axis === -1 || (axis !== undefined && axis === (of?.shape?.length ?? 0) - 1);
  return last && more.length === 0 && (keep?.kind !== 'int' || Number(keep.value) === 1) ? of : undefined;
}

/** c/s, or c times the inverse of s. */
function quotient(c: Value, s: Value): Value | undefined {
  for (const { node, index } of s.uses) {
    const [y] = node.outputs;
    if (node.domain !== '' || y === undefined) continue;
    if (node.op === 'Div' && index === 1 && node.inputs[0] === c) return y;
    const isInverse = node.op === 'Reciprocal' || (node.op === 'Div' && index === 1 && scalar(node.inputs[0]) === 1);
    if (!isInverse) continue;
    for (const { node: product, index: at } of y.uses)
      if (product.op === 'Mul' && product.domain === '' && product.inputs[1 - at] === c) return product.outputs[0];
  }
  return undefined;
}

interface Scaled {
  readonly scale: Value;
  readonly bias: Value | undefined;
  readonly y: Value;
}

/** The scale, and for LayerNorm the bias, behind n, where nothing else reads what stands between. */
function scaled({ n, x }: Found): Scaled | undefined {
  const width = n.shape?.at(-1);
  const isVector = (v: Value | undefined): v is Value =>
    v?.tensor !== undefined && v.tensor.dims.length === 1 && v.tensor.dims[0] === width;
  const times = onlyUse(n, 'Mul', isVector);
  if (times === undefined) return undefined;
  const plus = x === undefined ? undefined : onlyUse(times.y, 'Add', isVector);
  return { scale: times.other, bias: plus?.other, y: plus?.y ?? times.y };
}

function onlyUse(
  v: Value,
  op: string,
  fits: (other: Value | undefined) => other is Value,
): { readonly other: Value; readonly y: Value } | undefined {
  const [use, ...more] = v.uses;
  const other = use?.node.inputs[1 - use.index];
  const [y] = use?.node.outputs ?? [];
  if (use === undefined || more.length > 0 || use.node.op !== op || use.node.domain !== '' || y === undefined)
    return undefined;
  return fits(other) ? { other, y } : undefined;
}

const scalar = (v: Value | undefined): number | undefined =>
  v?.tensor?.dims.every((d) => d === 1) === true ? numbersOf(v.tensor)?.[0] : undefined;
