/**
 * Bytes of known length that are produced when they are written, so that a field with a weight needs no copy of the
 * weight.
 */
import { tagBytes, varintBytes } from './wire.ts';

export interface Stream {
  readonly length: number;
  /** Yields exactly `length` bytes, each time it is called. */
  readonly write: () => Iterable<Uint8Array>;
}

export const streamOf = (bytes: Uint8Array): Stream => ({ length: bytes.length, write: () => [bytes] });

export const joined = (...streams: readonly Stream[]): Stream => ({
  length: streams.reduce((n, s) => n + s.length, 0),
  *write() {
    for (const s of streams) yield* s.write();
  },
});

/** A length-delimited field. */
export const fieldStream = (field: number, value: Stream): Stream =>
  joined(streamOf(tagBytes(field, 2)), streamOf(varintBytes(value.length)), value);
