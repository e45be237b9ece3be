/** B of a layer that has a part of a packed weight's columns. */
import type { Builder } from '../../graph/builder.ts';
import { tensorType, type Value } from '../../graph/model.ts';
import { tensorOf } from '../../graph/tensor.ts';
import type { Found } from './layerKind.ts';

/** B [rank, out], padded with columns of zeros at the other parts. */
export function paddedB(g: Builder, b: Value, { part, out }: Pick<Found, 'part' | 'out'>, opset: number): Value {
  if (part === undefined) return b;
  const pads = [0, part.from, 0, part.of - part.from - out];
  // pads became an input in opset 11.
  const wide =
    opset >= 11
      ? g.Pad(b, g.Constant({ value: tensorOf('int64', [4], pads) }))
      : (g.node({ op: 'Pad', inputs: [b], attrs: { pads }, outputs: 1 })[0] ?? b);
  const rank = b.shape?.[0];
  if (typeof rank === 'number') wide.type ??= tensorType('float32', [rank, part.of]);
  return wide;
}
