/**
 * Dropout masks in plain operators that every provider has for int32: Mul, Add and Div, which wrap around and round
 * towards zero alike everywhere, and one comparison. CUDA and WebGPU have no shifts or exclusive ors to hash with.
 *
 * Row i and column j have hashes u and w, odd numbers; element (i, j) is kept if u·w·key, which is distributed evenly
 * over the odd int32, is less than a threshold. Only the last product and the comparison are over all elements. Two
 * elements are independent as far as the hashes of rows and columns are: those are Weyl sequences followed by rounds of
 * v·(2v + 1), a permutation of the integers modulo 2^32 (Rivest et al. 1998, RC6) that propagates low bits up, and v +
 * v/2^16, which propagates high bits down.
 */

import { unsupportedShape } from '../../errors.ts';
import type { Builder } from '../../graph/builder.ts';
import { type Graph, type Node, producersOf, takePlace, type Value } from '../../graph/model.ts';
import type { Length } from '../common/dimArithmetic.ts';
import { rewriteNodes } from '../common/rewriteNodes.ts';
import { gradTools } from '../common/shapeTools.ts';
import { counting, dropoutForm, isDropout } from '../dialect/dropout.ts';

const rule = 'lower/dropout';

/**
 * The first step of a hash, v·multiplier + offset: any odd multipliers work unless one is a simple multiple of another.
 */
const start = {
  seed: [0x9e3779b1 | 0, 0x27d4eb2f],
  row: [0x9e3779b1 | 0, 0xc2b2ae35 | 0],
  column: [0x165667b1, 0xd3a2646d | 0],
} as const;
const rounds = 2;

/** True if a dropout was lowered. In place; the main graph then has new detached nodes until `graph.adopt()`. */
export function lowerDropout(graph: Graph, builder: Builder): boolean {
  let found = false;
  const graphs = [...graph.allGraphs()];
  const hashes = new Map<Builder, Hashes>();
  rewriteNodes(graph, builder, isDropout, (node, g) => {
    const [y] = node.outputs;
    if (y === undefined) return;
    found = true;
    const own = hashes.get(g) ?? hashing(g);
    hashes.set(g, own);
    const out = g.within({ origin: y.name, rule }, () => written(node, g, own));
    takePlace(y, out, graphs, '.node');
  });
  return found;
}

function written(node: Node, g: Builder, hashes: Hashes): Value {
  const { x, seed, of, ratio, key, axis, factor } = dropoutForm(node);
  if (seed === undefined) throw new Error(`dropout "${node.label}" has no seed`);
  const tools = gradTools(g, (v) => {
    throw unsupportedShape(`the rank of "${v.name}" is not known`, { node: node.label });
  });
  const int = (n: number): Value => g.constant('int32', [], [n]);
  const flat = x.shape?.length === 2;
  // If the shape of `of` is only known after computing it, the matrix gives the same dims.
  const known = of.shape?.every((d) => typeof d === 'number' || (d !== null && g.symbol(d))) === true;
  const lengths = known || !flat ? tools.lengths(of) : tools.lengths(x);
  const columns = lengths.splice(known || !flat ? axis : 1);
  const [u, w] = [hashes.rows(seed, lengths), hashes.columns(seed, columns, key)];
  const kept = g.Less(g.Mul(u, w), int(threshold(ratio)));
  const mask = g.Cast(kept, { to: 1 });
  const scaled = factor === 1 ? mask : g.Mul(mask, g.float(factor));
  return g.Mul(x, flat ? scaled : tools.reshapeLike(scaled, x));
}

/** An element is kept if its hash is below this: counted from -2^31, the share of such numbers is 1 - p. */
export const threshold = (ratio: number): number => Math.min(Math.round((1 - ratio) * 2 ** 32) - 2 ** 31, 2 ** 31 - 1);

interface Hashes {
  /** Hashes of this many rows, [R, 1]. */
  rows(seed: Value, lengths: readonly Length[]): Value;
  /** Hashes of this many columns, each times the key, [1, C]. */
  columns(seed: Value, lengths: readonly Length[], key: number): Value;
}

/** The hashes of one graph: layers with equally many rows share the hashes of the rows. */
function hashing(g: Builder): Hashes {
  const int = (n: number): Value => g.constant('int32', [], [n]);
  const mix = (v: Value): Value => {
    let at = v;
    for (let i = 0; i < rounds; i++) {
      const up = g.Mul(at, g.Add(g.Add(at, at), int(1)));
      at = g.Add(up, g.Div(up, int(65536)));
    }
    return at;
  };
  const from = (v: Value, of: keyof typeof start, more?: Value): Value => {
    const [multiplier, offset] = start[of];
    return mix(g.Add(g.Mul(v, int(multiplier)), more === undefined ? int(offset) : g.Add(more, int(offset))));
  };
  const known = new Map<string, Value>();
  const once = (key: string, make: () => Value): Value => {
    const value = known.get(key) ?? make();
    known.set(key, value);
    return value;
  };
  const ids = new Map<Value, number>();
  const id = (v: Length): string => {
    if (typeof v === 'number') return String(v);
    const known = ids.get(v) ?? ids.size;
    ids.set(v, known);
    return `#${known}`;
  };
  const along = (seed: Value, lengths: readonly Length[], of: 'row' | 'column'): Value =>
    once(`${id(seed)}/${of}/${lengths.map(id).join()}`, () => {
      const mixed = once(id(seed), () => g.within({ origin: 'dropout.seed', rule }, () => from(seed, 'seed')));
      return g.within({ origin: `dropout.${of}s`, rule }, () => {
        const { times } = gradTools(g, (v) => {
          throw unsupportedShape(`the rank of "${v.name}" is not known`);
        });
        const hash = from(counting(g, times(...lengths)), of, mixed);
        return g.Reshape(g.Add(g.Add(hash, hash), int(1)), g.ints(of === 'row' ? [-1, 1] : [1, -1]));
      });
    });
  return {
    rows: (seed, lengths) => along(seed, lengths, 'row'),
    columns: (seed, lengths, key) =>
      once(`${id(seed)}/${key}/${lengths.map(id).join()}`, () => g.Mul(along(seed, lengths, 'column'), int(key))),
  };
}

/**
 * Moves masks to the place where they are first needed. ONNX Runtime computes a node's inputs from the last one in the
 * file to the first, so a mask that precedes the value it is multiplied with is computed after that value, and freed at
 * once; a mask after it would be computed before everything that the value needs. On graphs in their final order, in
 * place.
 */
export function masksFirst(graph: Graph): void {
  for (const own of graph.allGraphs()) {
    const isMask = (n: Node): boolean => n.metadata.get('loraify.rule') === rule;
    const masks = own.nodes.filter(isMask);
    if (masks.length === 0) continue;
    const waits = new Map<Node, number>();
    const readers = new Map<Node, Node[]>();
    for (const n of masks) {
      const needs = new Set(producersOf(n).filter((m) => m.graph === own));
      waits.set(n, needs.size);
      for (const m of needs) readers.set(m, [...(readers.get(m) ?? []), n]);
    }
    const order: Node[] = [];
    const put = (first: Node): void => {
      const todo = [first];
      for (let n = todo.shift(); n !== undefined; n = todo.shift()) {
        order.push(n);
        for (const r of readers.get(n) ?? []) {
          const left = (waits.get(r) ?? 0) - 1;
          waits.set(r, left);
          if (left === 0) todo.push(r);
        }
      }
    };
    const free = masks.filter((n) => waits.get(n) === 0);
    for (const n of free) put(n);
    for (const n of own.nodes) if (!isMask(n)) put(n);
    own.nodes.length = 0;
    own.nodes.push(...order);
  }
}
