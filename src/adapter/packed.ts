/**
 * Packed modules: PEFT's model has one (Phi-3's gate_up_proj) where a file has its parts as layers of their own, as
 * onnxruntime-genai's model builder writes them. The branch of a packed module is that of its parts side by side.
 */
import { defined } from '../formats/defined.ts';
import { matchingModule } from '../formats/peftPattern.ts';
import { packedPath, partPaths } from '../graph/families/packedPaths.ts';
import type { KnownLayer } from './known.ts';
import type { PeftLayer } from './peftTensors.ts';

/** The layers of an adapter, with the parts of each packed one that is not known itself and whose parts are. */
export function unpackedLayers(
  layers: ReadonlyMap<string, PeftLayer>,
  known: readonly KnownLayer[],
): Map<string, PeftLayer> {
  return new Map(
    [...layers].flatMap(([path, layer]): [string, PeftLayer][] => {
      const paths = partPaths(path);
      if (paths.length === 0 || matchingModule(known, path) !== undefined) return [[path, layer]];
      const widths = paths.map((part) => matchingModule(known, part)?.out ?? Number.NaN);
      if (widths.reduce((sum, w) => sum + w, 0) !== layer.out) return [[path, layer]];
      let from = 0;
      return paths.map((part, i) => {
        const to = from + (widths[i] ?? 0);
        const own = columns(layer, from, to);
        from = to;
        return [part, layer.module === undefined ? own : { ...own, module: part }];
      });
    }),
  );
}

function columns(layer: PeftLayer, from: number, to: number): PeftLayer {
  const { rank, out, B, magnitude } = layer;
  const part = new Float32Array(rank * (to - from));
  for (let r = 0; r < rank; r++) part.set(B.subarray(r * out + from, r * out + to), r * (to - from));
  return { ...layer, out: to - from, B: part, ...defined({ magnitude: magnitude?.slice(from, to) }) };
}

/**
 * The layers of an adapter, with one in place of the parts of each module of `packed` that are all there. Parts with one
 * A keep it; else their ranks add up, and B is zero outside the blocks of the parts.
 */
export function packedLayers(layers: ReadonlyMap<string, PeftLayer>, packed: Iterable<string>): Map<string, PeftLayer> {
  const made = new Map(layers);
  for (const path of packed) {
    const names = partPaths(path);
    const parts = names.flatMap((part) => layers.get(part) ?? []);
    if (parts.length < names.length) continue;
    for (const part of names) made.delete(part);
    made.set(path, sideBySide(parts));
  }
  return made;
}

function sideBySide(parts: readonly PeftLayer[]): PeftLayer {
  const [first, ...others] = parts;
  if (first === undefined) throw new Error('a packed module without parts');
  const sum = (of: (part: PeftLayer) => number): number => parts.reduce((n, part) => n + of(part), 0);
  const share = others.every((l) => l.rank === first.rank && l.A.every((x, i) => x === first.A[i]));
  const [rank, out] = [share ? first.rank : sum((p) => p.rank), sum((p) => p.out)];
  const A = new Float32Array(first.in * rank);
  const B = new Float32Array(rank * out);
  // A part of scale 0 could not carry the scale of the others.
  const { scale, alpha, rank: own } = parts.find((p) => p.scale !== 0) ?? first;
  let [row, column] = [0, 0];
  for (const part of parts) {
    for (let i = 0; i < part.in; i++) A.set(part.A.subarray(i * part.rank, (i + 1) * part.rank), i * rank + row);
    const factor = part.scale === scale ? 1 : part.scale / scale;
    for (let r = 0; r < part.rank; r++) {
      const values = part.B.subarray(r * part.out, (r + 1) * part.out);
      B.set(factor === 1 ? values : values.map((x) => x * factor), (row + r) * out + column);
    }
    if (!share) row += part.rank;
    column += part.out;
  }
  const magnitudes = parts.flatMap((p) => [...(p.magnitude ?? [])]);
  return {
    ...first,
    out,
    rank,
    alpha: (alpha * rank) / own,
    scale,
    A,
    B,
    ...defined({
      magnitude: first.magnitude && Float32Array.from(magnitudes),
      module: first.module === undefined ? undefined : packedPath(first.module),
    }),
  };
}
