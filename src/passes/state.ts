/**
 * The flat trainable state: one float32 vector [P]. Inside a graph it is a matrix of rows before it is split, because CUDA's Split and
 * Concat pay per element of the split axis.
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

/** Tensors that lie side by side in the state as rows of one width, so that one Reshape and one Split serve all of them. */
interface RowGroup {
  readonly width: number;
  readonly slots: readonly Slot[];
}

/**
 * Layer after layer, A before B; for CUDA, where a node costs more than what it does to a small matrix, first everything of one row
 * width, then of the next: all A of a rank, all B of as many columns.
 */
export function stateLayout(layers: readonly Layer[], target: Target = 'portable'): StateLayout {
  const own = layers.map((layer) => ({ layer, ...factorShapes(layer) }));
  const wanted = own.flatMap(({ layer, A, B }) => [
    { name: layer.A, shape: A },
    { name: layer.B, shape: B },
  ]);
  const widths = [...new Set(wanted.map(({ shape }) => rowWidth(shape)))];
  const order = target === 'cuda' ? widths.flatMap((w) => wanted.filter((t) => rowWidth(t.shape) === w)) : wanted;
  let size = 0;
  const slots = new Map<string, Slot>();
  for (const { name, shape } of order) {
    slots.set(name, { name, offset: size, shape });
    size += sizeOf(shape);
  }
  const slot = (name: string): Slot => {
    const found = slots.get(name);
    if (found === undefined) throw new Error(`"${name}" is not in the state`);
    return found;
  };
  return { slots: layers.map((layer) => ({ layer, A: slot(layer.A), B: slot(layer.B) })), size };
}

const rowWidth = (shape: readonly number[]): number => shape.at(-1) ?? 1;

/** The state in the order in which it lies, cut where the row width changes. */
function groups(layout: StateLayout, target: Target): RowGroup[] {
  const all = layout.slots.flatMap((s) => [s.A, s.B]).sort((a, b) => a.offset - b.offset);
  const found: { width: number; slots: Slot[] }[] = [];
  // Elsewhere everything is one group, of the widest rows that every tensor is a multiple of.
  const common = all.reduce((w, s) => gcd(sizeOf(s.shape), w), 0) || 1;
  for (const s of all) {
    const width = target === 'cuda' ? rowWidth(s.shape) : common;
    const last = found.at(-1);
    if (last?.width === width) last.slots.push(s);
    else found.push({ width, slots: [s] });
  }
  return found;
}

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));
const total = (slots: readonly Slot[]): number => slots.reduce((n, s) => n + sizeOf(s.shape), 0);
const isRows = ({ shape }: Slot, width: number): boolean => shape.length === 2 && shape[1] === width;

/** Cuts rows; CUDA pays per row that is cut, so there are as few as the lengths allow. */
function cut(g: Builder, v: Value, sizes: readonly number[]): readonly Value[] {
  return sizes.length === 1
    ? [v]
    : g.node({ op: 'Split', inputs: [v, g.ints(sizes)], attrs: { axis: 0 }, outputs: sizes.length });
}

/** A and B of every layer, by name, out of the flat vector. */
export function unpack(g: Builder, layout: StateLayout, params: Value, target: Target): Map<string, Value> {
  const parts = groups(layout, target);
  const common = parts.reduce((w, { slots }) => gcd(total(slots), w), 0) || 1;
  return g.within({ origin: 'state', rule: 'state/unpack' }, () => {
    const segments =
      parts.length === 1
        ? [params]
        : cut(
            g,
            g.Reshape(params, g.ints([-1, common])),
            parts.map(({ slots }) => total(slots) / common),
          );
    return new Map(
      parts.flatMap(({ width, slots }, i) => {
        const rows = g.Reshape(segments[i] ?? params, g.ints([-1, width]));
        const pieces = cut(
          g,
          rows,
          slots.map((s) => sizeOf(s.shape) / width),
        );
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

/** The flat vector out of gradients by name; a tensor without one counts as zeros. */
export function pack(g: Builder, layout: StateLayout, grads: ReadonlyMap<string, Value>, target: Target): Value {
  const parts = groups(layout, target);
  const common = parts.reduce((w, { slots }) => gcd(total(slots), w), 0) || 1;
  const joined = (list: readonly Value[]): Value => {
    const [only] = list;
    return list.length === 1 && only !== undefined ? only : g.Concat(list, { axis: 0 });
  };
  return g.within({ origin: 'state', rule: 'state/pack' }, () => {
    const segments = parts.map(({ width, slots }) =>
      joined(
        slots.map((s) => {
          const rows = sizeOf(s.shape) / width;
          const dv = grads.get(s.name);
          if (dv === undefined) return g.Expand(g.float(0), g.ints([rows, width]));
          return isRows(s, width) ? dv : g.Reshape(dv, g.ints([rows, width]));
        }),
      ),
    );
    const whole = segments.length === 1 ? segments : segments.map((s) => g.Reshape(s, g.ints([-1, common])));
    return g.Reshape(joined(whole), g.ints([-1]));
  });
}
