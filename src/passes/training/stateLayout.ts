/**
 * The flat trainable state: one float32 vector [P], layer after layer, A before B; then the magnitudes of DoRA layers,
 * then modules_to_save weights. Inside a graph it is a matrix of rows of `width` elements before it is split, because
 * the cost of CUDA's Split and Concat depends on the length of the split axis.
 */
import type { Builder } from '../../graph/builder.ts';
import { factorShapes, sizeOf } from '../../graph/layers.ts';
import type { Layer, Value } from '../../graph/model.ts';
import type { Target } from '../common/target.ts';

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
  readonly magnitude: Slot | undefined;
}

export interface StateLayout {
  readonly slots: readonly LayerSlots[];
  /** modules_to_save weights, in the order of `stateLayout`'s argument. */
  readonly saved: readonly Slot[];
  /** P. */
  readonly size: number;
}

/** @param saved modules_to_save initializers. */
export function stateLayout(
  layers: readonly Layer[],
  saved: readonly Pick<Slot, 'name' | 'shape'>[] = [],
): StateLayout {
  let offset = 0;
  const slot = (name: string, shape: readonly number[]): Slot => {
    const s: Slot = { name, offset, shape };
    offset += sizeOf(shape);
    return s;
  };
  const factors = layers.map((layer) => {
    const { A, B } = factorShapes(layer);
    return { layer, A: slot(layer.A, A), B: slot(layer.B, B) };
  });
  const slots = factors.map((f) => {
    const { magnitude, out } = f.layer;
    return { ...f, magnitude: magnitude === undefined ? undefined : slot(magnitude, [out]) };
  });
  const whole = saved.map(({ name, shape }) => slot(name, shape));
  return { slots, saved: whole, size: offset };
}

/** All tensors of the state, in order. */
const flatSlots = ({ slots, saved }: StateLayout): Slot[] => [
  ...slots.flatMap((s) => [s.A, s.B]),
  ...slots.flatMap((s) => (s.magnitude === undefined ? [] : [s.magnitude])),
  ...saved,
];

/**
 * The way a graph splits the state: its tensors in the order in which they are split, grouped by the width of their
 * rows.
 */
interface Cut {
  /** The number of elements of the widest row that divides every tensor. */
  readonly unit: number;
  readonly groups: readonly RowGroup[];
  /**
   * The rows of `unit` elements of the state in the order of the groups; undefined if that is the order of the state.
   */
  readonly order: readonly number[] | undefined;
}

/** One Reshape and one Split serve all tensors of a group. */
interface RowGroup {
  readonly width: number;
  readonly slots: readonly Slot[];
}

/**
 * On CUDA, where launching a node costs more than its work on a small matrix, tensors of one row width are grouped: all
 * A of a rank, all B with the same number of columns. This takes one Gather, unless it would need one index per element
 * of the state.
 */
function cutOf(layout: StateLayout, target: Target): Cut {
  const all = flatSlots(layout);
  const unit = all.reduce((w, s) => gcd(sizeOf(s.shape), w), 0) || 1;
  const widths = [...new Set(all.map(rowWidth))];
  if (target !== 'cuda' || unit < 4) return { unit, groups: [{ width: unit, slots: all }], order: undefined };
  const groups = widths.map((width) => ({ width, slots: all.filter((s) => rowWidth(s) === width) }));
  const order = groups.flatMap(({ slots }) =>
    slots.flatMap((s) => Array.from({ length: sizeOf(s.shape) / unit }, (_, i) => s.offset / unit + i)),
  );
  return { unit, groups, order: order.every((row, i) => row === i) ? undefined : order };
}

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));
const rowWidth = ({ shape }: Slot): number => shape.at(-1) ?? 1;
const total = (slots: readonly Slot[]): number => slots.reduce((n, s) => n + sizeOf(s.shape), 0);
const isRows = ({ shape }: Slot, width: number): boolean => shape.length === 2 && shape[1] === width;

const split = (g: Builder, v: Value, lengths: readonly number[]): readonly Value[] =>
  lengths.length === 1
    ? [v]
    : g.node({ op: 'Split', inputs: [v, g.ints(lengths)], attrs: { axis: 0 }, outputs: lengths.length });

function joined(g: Builder, list: readonly Value[]): Value {
  const [only] = list;
  return list.length === 1 && only !== undefined ? only : g.Concat(list, { axis: 0 });
}

/** Splits the flat vector into A and B of every layer and modules_to_save weights, by name. */
export function unpack(g: Builder, layout: StateLayout, params: Value, target: Target): Map<string, Value> {
  const { unit, groups, order } = cutOf(layout, target);
  return g.within({ origin: 'state', rule: 'state/unpack' }, () => {
    const units = groups.length === 1 ? params : g.Reshape(params, g.ints([-1, unit]));
    const segments = split(
      g,
      order === undefined ? units : g.Gather(units, g.ints(order), { axis: 0 }),
      groups.map(({ slots }) => total(slots) / unit),
    );
    return new Map(
      groups.flatMap(({ width, slots }, i) => {
        const rows = g.Reshape(segments[i] ?? params, g.ints([-1, width]));
        const lengths = slots.map((s) => sizeOf(s.shape) / width);
        const pieces = split(g, rows, lengths);
        return slots.map((s, k) => {
          const piece = pieces[k] ?? rows;
          const shaped = isRows(s, width) ? piece : g.Reshape(piece, g.ints(s.shape));
          shaped.name = s.name;
          return [s.name, shaped] as const;
        });
      }),
    );
  });
}

/** Concatenates gradients by name to the flat vector; a tensor without one counts as zeros. */
export function pack(g: Builder, layout: StateLayout, grads: ReadonlyMap<string, Value>, target: Target): Value {
  const { unit, groups, order } = cutOf(layout, target);
  return g.within({ origin: 'state', rule: 'state/pack' }, () => {
    const segments = groups.map(({ width, slots }) => {
      const parts = slots.map((s) => {
        const rows = sizeOf(s.shape) / width;
        const dv = grads.get(s.name);
        if (dv === undefined) return g.Expand(g.float(0), g.ints([rows, width]));
        return isRows(s, width) ? dv : g.Reshape(dv, g.ints([rows, width]));
      });
      return joined(g, parts);
    });
    const units = segments.length === 1 ? segments : segments.map((s) => g.Reshape(s, g.ints([-1, unit])));
    const whole = joined(g, units);
    const back = order === undefined ? undefined : inverse(order);
    return g.Reshape(back === undefined ? whole : g.Gather(whole, g.ints(back), { axis: 0 }), g.ints([-1]));
  });
}

/** The inverse of a permutation. */
function inverse(order: readonly number[]): number[] {
  const back = new Array<number>(order.length).fill(0);
  for (const [i, row] of order.entries()) back[row] = i;
  return back;
}
