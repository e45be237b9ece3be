/**
 * The flat trainable state: one float32 vector [P], layer after layer, A before B. Inside a graph it is a matrix of rows of
 * `width` elements before it is split, because CUDA's Split and Concat pay per element of the split axis.
 */
import type { Builder } from '../graph/builder.ts';
import { factorShapes, sizeOf } from '../graph/layers.ts';
import type { Layer, Value } from '../graph/model.ts';
import type { Target } from './speed.ts';

export interface Slot {
  readonly name: string;
  /** Element offset in the flat vector. */
  readonly offset: number;
  readonly shape: readonly number[];
}

export interface LayerSlots {
  readonly layer: Layer;
  readonly A: Slot;
  readonly B: Slot;
}

export interface StateLayout {
  readonly slots: readonly LayerSlots[];
  /** P. */
  readonly size: number;
}

export function stateLayout(layers: readonly Layer[]): StateLayout {
  let offset = 0;
  const slot = (name: string, shape: readonly number[]): Slot => {
    const s: Slot = { name, offset, shape };
    offset += sizeOf(shape);
    return s;
  };
  const slots = layers.map((layer) => {
    const { A, B } = factorShapes(layer);
    return { layer, A: slot(layer.A, A), B: slot(layer.B, B) };
  });
  return { slots, size: offset };
}

const flatSlots = (layout: StateLayout): Slot[] => layout.slots.flatMap((s) => [s.A, s.B]);

/**
 * The widest row that every tensor of the state is a multiple of; on CUDA the rank, where it is one, because an A is such rows
 * already and needs no Reshape.
 */
function rowWidth(layout: StateLayout, target: Target): number {
  const [first] = layout.slots;
  const rank = first?.layer.rank ?? 1;
  if (target === 'cuda' && flatSlots(layout).every((s) => sizeOf(s.shape) % rank === 0)) return rank;
  const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));
  return flatSlots(layout).reduce((w, s) => gcd(sizeOf(s.shape), w), 0) || 1;
}

const isRows = ({ shape }: Slot, width: number): boolean => shape.length === 2 && shape[1] === width;

/** A and B of every layer, by name, out of the flat vector. */
export function unpack(g: Builder, layout: StateLayout, params: Value, target: Target): Map<string, Value> {
  const width = rowWidth(layout, target);
  const slots = flatSlots(layout);
  return g.within({ origin: 'state', rule: 'state/unpack' }, () => {
    const rows = g.Reshape(params, g.ints([-1, width]));
    const lengths = slots.map((s) => sizeOf(s.shape) / width);
    const parts =
      slots.length === 1
        ? [rows]
        : g.node({ op: 'Split', inputs: [rows, g.ints(lengths)], attrs: { axis: 0 }, outputs: slots.length });
    return new Map(
      slots.map((s, i) => {
        const part = parts[i] ?? rows;
        const shaped = isRows(s, width) && part !== rows ? part : g.Reshape(part, g.ints(s.shape));
        shaped.name = s.name;
        return [s.name, shaped];
      }),
    );
  });
}

/** The flat vector out of gradients by name; a tensor without one counts as zeros. */
export function pack(g: Builder, layout: StateLayout, grads: ReadonlyMap<string, Value>, target: Target): Value {
  const width = rowWidth(layout, target);
  return g.within({ origin: 'state', rule: 'state/pack' }, () => {
    const parts = flatSlots(layout).map((s) => {
      const rows = sizeOf(s.shape) / width;
      const dv = grads.get(s.name);
      if (dv === undefined) return g.Expand(g.float(0), g.ints([rows, width]));
      return isRows(s, width) ? dv : g.Reshape(dv, g.ints([rows, width]));
    });
    const [only] = parts;
    const rows = parts.length === 1 && only !== undefined ? only : g.Concat(parts, { axis: 0 });
    return g.Reshape(rows, g.ints([-1]));
  });
}
