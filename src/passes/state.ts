/**
 * The flat trainable state: one float32 vector [P], layer after layer, A before B. Inside a graph it is a matrix of rows of
 * `width` elements before it is split, because CUDA's Split and Concat pay per element of the split axis.
 */
import type { Builder } from '../graph/builder.ts';
import type { Layer, Value } from '../graph/model.ts';

export interface Slot {
  readonly name: string;
  /** Element offset in the flat vector. */
  readonly offset: number;
  readonly shape: readonly [number, number];
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
  const slot = (name: string, rows: number, columns: number): Slot => {
    const s: Slot = { name, offset, shape: [rows, columns] };
    offset += rows * columns;
    return s;
  };
  const slots = layers.map((layer) => ({
    layer,
    A: slot(layer.A, layer.in, layer.rank),
    B: slot(layer.B, layer.rank, layer.out),
  }));
  return { slots, size: offset };
}

const flatSlots = (layout: StateLayout): Slot[] => layout.slots.flatMap((s) => [s.A, s.B]);

/** The widest row that every tensor of the state is a multiple of. */
function rowWidth(layout: StateLayout): number {
  const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));
  return flatSlots(layout).reduce((w, s) => gcd(s.shape[0] * s.shape[1], w), 0) || 1;
}

/** A and B of every layer, by name, out of the flat vector. */
export function unpack(g: Builder, layout: StateLayout, params: Value): Map<string, Value> {
  const width = rowWidth(layout);
  const slots = flatSlots(layout);
  return g.within({ origin: 'state', rule: 'state/unpack' }, () => {
    const rows = g.Reshape(params, g.ints([-1, width]));
    const lengths = slots.map((s) => (s.shape[0] * s.shape[1]) / width);
    const parts =
      slots.length === 1
        ? [rows]
        : g.node({ op: 'Split', inputs: [rows, g.ints(lengths)], attrs: { axis: 0 }, outputs: slots.length });
    return new Map(
      slots.map((s, i) => {
        const part = parts[i] ?? rows;
        const shaped = s.shape[1] === width && part !== rows ? part : g.Reshape(part, g.ints(s.shape));
        shaped.name = s.name;
        return [s.name, shaped];
      }),
    );
  });
}

/** The flat vector out of gradients by name; a tensor without one counts as zeros. */
export function pack(g: Builder, layout: StateLayout, grads: ReadonlyMap<string, Value>): Value {
  const width = rowWidth(layout);
  return g.within({ origin: 'state', rule: 'state/pack' }, () => {
    const parts = flatSlots(layout).map((s) => {
      const rows = (s.shape[0] * s.shape[1]) / width;
      const dv = grads.get(s.name);
      if (dv === undefined) return g.Expand(g.float(0), g.ints([rows, width]));
      return s.shape[1] === width ? dv : g.Reshape(dv, g.ints([rows, width]));
    });
    const [only] = parts;
    const rows = parts.length === 1 && only !== undefined ? only : g.Concat(parts, { axis: 0 });
    return g.Reshape(rows, g.ints([-1]));
  });
}
