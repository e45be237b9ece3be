/** Shapes in messages. */
import type { Dim } from './model.ts';

/** `[batch, 128, ?]`; a dim that is not known is a question mark. */
export const shapeText = (shape: readonly Dim[]): string => `[${shape.map((d) => d ?? '?').join(', ')}]`;
