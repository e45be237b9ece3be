/**
 * Finds the sequence axis of a cache: from the operators that read it, then from its symbols, then from the usual order
 * of axes. A cache that grows is empty before the first token; one of fixed size is overwritten in place and starts
 * with zeros.
 */

import type { Dim, Node, Use, Value } from '../../../graph/model.ts';
import { attrsOf, kindOf } from '../../../graph/operators.ts';
import { shapeText } from '../../../graph/shapeText.ts';
import { numbersIn } from '../../shapes/elements.ts';
import { axisIn } from '../../shapes/rule.ts';
import { pastInputs } from '../pastInputs.ts';

export interface Layout {
  /** The axis that grows; undefined for a cache of fixed size. */
  readonly grows: number | undefined;
  /** The axis along which rows are written, for a cache of fixed size. */
  readonly writes?: number | undefined;
  /** Dims inferred from the readers, if the input does not declare them; null if unknown. */
  readonly dims: readonly Dim[];
}

/** The reason, for messages, why it is not a cache that can be initialized. */
export type Unclear = string;

/** The evidence of one reader. */
interface Witness {
  /** Whether the reader appends to it along this axis, or writes into it. */
  readonly kind: 'grows' | 'written' | 'either';
  readonly axis: number | undefined;
  readonly dims: readonly Dim[];
}

/** The sequence axis of `v`, or the reason why it cannot be determined. `batch`: dims that count rows. */
export function layoutOf(v: Value, batch: ReadonlySet<Dim>): Layout | Unclear {
  const shape = v.shape;
  if (shape === undefined) return 'its rank is not known';
  const seen = witnesses(
    v,
    shape.map((_, i) => i),
  );
  const dims = shape.map((d, i) =>
    typeof d === 'number' ? d : (seen.map((w) => w.dims[i]).find((k) => typeof k === 'number') ?? d),
  );
  const axes = new Set(seen.flatMap((w) => (w.kind === 'written' || w.axis === undefined ? [] : [w.axis])));
  if (axes.size > 1) return `its readers disagree: the sequence axis is ${[...axes].join(' or ')}`;
  const written = seen.find((w) => w.kind === 'written');
  const [axis = written === undefined ? guess(shape, batch) : undefined] = axes;
  if (axis === undefined)
    return written === undefined
      ? 'none of its axes is known to be the sequence axis'
      : { grows: undefined, writes: written.axis, dims };
  const length = shape[axis];
  if (typeof length !== 'number' || length === 0) return { grows: axis, dims };
  if (seen.some((w) => w.kind === 'either')) return { grows: undefined, writes: axis, dims };
  return `${length} earlier tokens are fixed in its shape ${shapeText(shape)}`;
}

/** The only open axis that does not count rows, or the usual one: keys and values are [batch, heads, length, size]. */
function guess(shape: readonly Dim[], batch: ReadonlySet<Dim>): number | undefined {
  const open = shape.flatMap((d, i) => (typeof d === 'number' || (d !== null && batch.has(d)) ? [] : [i]));
  if (open.length === 1) return open[0];
  const usual = shape.length === 4 ? 2 : shape.length === 5 ? 3 : undefined;
  return usual !== undefined && open.includes(usual) ? usual : undefined;
}

/** @param axes for each axis of `v` the cache's own axis, -1 if it has none. */
function witnesses(v: Value, axes: readonly number[]): Witness[] {
  return [...v.uses].flatMap((use) => look(use, axes));
}

function look(use: Use, axes: readonly number[]): Witness[] {
  const { node, index } = use;
  const rank = axes.length;
  const own = (axis: number | undefined): number | undefined => {
    const found = axis === undefined ? undefined : axes[axis];
    return found === undefined || found < 0 ? undefined : found;
  };
  const back = (shape: readonly Dim[] | undefined): Dim[] => {
    const dims: Dim[] = [];
    for (const [i, a] of axes.entries()) if (a >= 0) dims[a] = shape?.length === rank ? (shape[i] ?? null) : null;
    return dims;
  };
  const through = (next: readonly number[], output = node.outputs): Witness[] =>
    output.flatMap((o) => witnesses(o, next));
  const past = pastInputs(node);
  if (past?.at.includes(index) === true) {
    const shape = node.outputs[past.out + past.at.indexOf(index)]?.shape;
    return [{ kind: past.buffer ? 'either' : 'grows', axis: own(past.axis), dims: back(shape) }];
  }
  if (node.domain !== '') return [];
  switch (node.op) {
    case 'Concat': {
      const axis = axisIn(attrsOf(node, 'Concat').axis ?? 0, rank);
      return [{ kind: 'grows', axis: own(axis), dims: back(node.outputs[0]?.shape) }];
    }
    case 'TensorScatter':
    case 'ScatterElements':
    case 'ScatterND': {
      const axis = node.op === 'TensorScatter' ? axisIn(attrsOf(node, 'TensorScatter').axis, rank) : undefined;
      return index === 0 ? [{ kind: 'written', axis: own(axis), dims: back(node.outputs[0]?.shape) }] : [];
    }
    case 'Identity':
    case 'Cast':
    case 'DequantizeLinear':
    case 'Split':
    case 'Slice':
      return index === 0 ? through(axes) : [];
    case 'Transpose': {
      const perm = attrsOf(node, 'Transpose').perm ?? axes.map((_, i) => rank - 1 - i);
      return through(perm.map((i) => axes[i] ?? -1));
    }
    case 'Gather': {
      const at =
        index === 0 && node.inputs[1]?.shape?.length === 0 ? axisIn(attrsOf(node, 'Gather').axis, rank) : undefined;
      return at === undefined ? [] : through(axes.filter((_, i) => i !== at));
    }
    case 'Squeeze': {
      const gone = numbersIn(node.inputs[1])?.map((a) => axisIn(a, rank));
      return index !== 0 || gone === undefined ? [] : through(axes.filter((_, i) => !gone.includes(i)));
    }
    case 'Unsqueeze': {
      const more = numbersIn(node.inputs[1]);
      if (index !== 0 || more === undefined) return [];
      const added = more.map((a) => axisIn(a, rank + more.length));
      const rest = [...axes];
      return through(
        Array.from({ length: rank + more.length }, (_, i) => (added.includes(i) ? -1 : (rest.shift() ?? -1))),
      );
    }
    default:
      return [];
  }
}

/**
 * Whether a node passes on one cache, or a part of it. In addition to views these are operators that exporters insert
 * there: Cast and QuantizeLinear store it in another type, Transpose and Slice neither repeat nor mix its content.
 */
const moves = (node: Node): boolean =>
  kindOf(node) === 'view' || (node.domain === '' && ['Cast', 'QuantizeLinear', 'Transpose', 'Slice'].includes(node.op));
/** Whether a node writes new keys or values into a cache, or appends them. */
const writes = (node: Node): boolean => kindOf(node) === 'scatter' || (node.domain === '' && node.op === 'Concat');

/** The value that a moved value is derived from. */
function origin(v: Value): Value {
  let at = v;
  for (let n = at.producer; n !== undefined && moves(n); n = at.producer) {
    const [x] = n.inputs;
    if (x === undefined) break;
    at = x;
  }
  return at;
}

/** Whether the value is one of these caches with the new keys or values in it, or a stack of them. */
export function returnsCache(v: Value, caches: ReadonlySet<Value>): boolean {
  const from = origin(v);
  const node = from.producer;
  if (node === undefined) return caches.has(from);
  if (pastInputs(node) !== undefined) return node.outputs.indexOf(from) > 0;
  if (!writes(node)) return false;
  const parts = node.inputs.flatMap((i) => (i === undefined ? [] : [origin(i)]));
  const [first] = parts;
  return parts.some((p) => caches.has(p)) || (first !== undefined && first !== from && returnsCache(first, caches));
}
