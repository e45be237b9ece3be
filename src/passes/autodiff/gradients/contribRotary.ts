/**
 * ONNX Runtime's contributed rotary embeddings, as its CPU kernels (1.30) compute them.
 * https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.RotaryEmbedding
 */
import { noGradient } from '../../../errors.ts';
import type { Value } from '../../../graph/model.ts';
import type { AttrsOf } from '../../../graph/operators.ts';
import type { Length } from '../../common/dimArithmetic.ts';
import { decompose } from '../rules.ts';
import { type G, rotate } from './attend.ts';

/** Rows of a table of cosines or sines, [batch or 1, sequence, 1, pairs] or with heads before the sequence. */
export const rowsOf = (g: G, table: Value, positions: Value, headAxis: 1 | 2): Value =>
  g.Unsqueeze(g.Gather(table, positions), g.ints([headAxis]));

/** first, first + 1, …: [rows, 1] to [rows, length]. */
export const following = (g: G, first: Value, length: Length): Value =>
  g.Add(first, g.Range(g.int(0), g.scalar(length), g.int(1)));

interface Turn {
  readonly x: Value;
  /** Cosines and sines of each position, [batch or 1, sequence, pairs] with an axis for heads. */
  readonly rows: (headAxis: 1 | 2) => readonly [cos: Value, sin: Value];
  /** Twice the width of the tables. */
  readonly width: Length;
}

/** x with the front part of its heads rotated; x may have its heads side by side. */
function turned(
  g: G,
  { x, rows, width }: Turn,
  { num_heads: heads, rotary_embedding_dim: part, interleaved }: AttrsOf<'com.microsoft.RotaryEmbedding'>,
): Value {
  const whole = g.rank(x) === 4;
  const size = part === 0 ? width : whole ? g.length(x, 3) : g.over(g.length(x, 2), heads);
  const [batch, length, flat] = [g.length(x, 0), g.length(x, whole ? 2 : 1), g.length(x, 2)];
  const apart = whole ? x : g.shaped(x, [batch, length, g.over(flat, size), size]);
  const y = rotate(g, apart, ...rows(whole ? 1 : 2), {
    interleaved: interleaved === 1,
    size,
    rotated: part === 0 ? width : part,
  });
  return whole ? y : g.shaped(y, [batch, length, flat]);
}

// The kernel ignores the attribute scale. A single position is that of the first token of each row.
decompose('com.microsoft.RotaryEmbedding', ({ inputs: [x, positions, cos, sin], attrs, g }) => {
  const length = g.length(x, g.rank(x) === 4 ? 2 : 1);
  const at = g.rank(positions) < 2 ? following(g, g.Reshape(positions, g.ints([1, 1])), length) : positions;
  const width = g.times(2, g.length(cos, 1));
  return [turned(g, { x, rows: (axis) => [rowsOf(g, cos, at, axis), rowsOf(g, sin, at, axis)], width }, attrs)];
});

/**
 * The stream of positions (time, height, width) that each pair belongs to (Wang et al. 2024): sections one after the
 * other, or height and width at every third pair from the second and third on.
 */
function streamsOf([time = 0, height = 0, width = 0]: readonly number[], interleaved: boolean): number[] {
  return Array.from({ length: time + height + width }, (_, i) => {
    if (!interleaved) return i < time ? 0 : i < time + height ? 1 : 2;
    return i % 3 === 1 && i < 3 * height ? 1 : i % 3 === 2 && i < 3 * width ? 2 : 0;
  });
}

decompose('com.microsoft.MRotaryEmbedding', ({ node, inputs: [x, positions, cos, sin], attrs, g }) => {
  const { mrope_section: sections, mrope_layout: layout } = attrs;
  if (sections?.length !== 3)
    throw noGradient(`${node.op} without three sections has no gradient rule`, { node: node.label });
  const streams = streamsOf(sections, layout === 1);
  const of = (table: Value, headAxis: 1 | 2): Value => {
    const [time, height, width] = [0, 1, 2].map((i) => g.Gather(table, g.Gather(positions, g.int(i), { axis: 0 })));
    const isOf = (i: number): Value =>
      g.constant(
        'bool',
        [streams.length],
        streams.map((s) => Number(s === i)),
      );
    if (time === undefined || height === undefined || width === undefined) return table;
    return g.Unsqueeze(g.Where(isOf(1), height, g.Where(isOf(2), width, time)), g.ints([headAxis]));
  };
  return [turned(g, { x, rows: (axis) => [of(cos, axis), of(sin, axis)], width: 2 * streams.length }, attrs)];
});
