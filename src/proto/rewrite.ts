/**
 * Copies a message with some places changed. Only the places and the messages around them are in memory: the result is
 * a list of pieces, most of which are ranges of the source.
 */
import type { Stream } from './stream.ts';
import { tagBytes, varintBytes } from './wire.ts';

/** Bytes that replace [at, end) of the source. */
export interface Replacement extends Stream {
  readonly kind: 'replacement';
  readonly at: number;
  readonly end: number;
}

/**
 * A length-delimited field (tag at `at`, content from `from` to `end`) that has changes inside. `parts` is in order of
 * place.
 */
export interface ChangedMessage {
  readonly kind: 'message';
  readonly field: number;
  readonly at: number;
  readonly from: number;
  readonly end: number;
  readonly parts: readonly ChangedPart[];
}

export type ChangedPart = Replacement | ChangedMessage;

export type Piece =
  | { readonly kind: 'copy'; readonly offset: number; readonly length: number }
  | ({ readonly kind: 'new' } & Stream);

export const replacement = (at: number, end: number, bytes: Uint8Array): Replacement => ({
  kind: 'replacement',
  at,
  end,
  length: bytes.length,
  write: () => [bytes],
});

export const insertion = (at: number, stream: Stream): Replacement => ({ kind: 'replacement', at, end: at, ...stream });

/** All of [from, end) with the parts changed and the enclosing length prefixes updated. */
export function rewrite(from: number, end: number, parts: readonly ChangedPart[]): Piece[] {
  const pieces: Piece[] = [];
  const copy = (offset: number, until: number): void => {
    if (until <= offset) return;
    const last = pieces.at(-1);
    if (last?.kind === 'copy' && last.offset + last.length === offset)
      pieces[pieces.length - 1] = { kind: 'copy', offset: last.offset, length: last.length + until - offset };
    else pieces.push({ kind: 'copy', offset, length: until - offset });
  };
  const lengths = new Map<ChangedMessage, number>();
  const lengthOf = (start: number, stop: number, inside: readonly ChangedPart[]): number =>
    inside.reduce((sum, p) => {
      if (p.kind === 'replacement') return sum - (p.end - p.at) + p.length;
      const length = lengthOf(p.from, p.end, p.parts);
      lengths.set(p, length);
      return sum - (p.end - p.at) + tagBytes(p.field, 2).length + varintBytes(length).length + length;
    }, stop - start);
  const emit = (start: number, stop: number, inside: readonly ChangedPart[]): void => {
    let at = start;
    for (const p of inside) {
      copy(at, p.at);
      if (p.kind === 'replacement') {
        if (p.length > 0) pieces.push({ kind: 'new', length: p.length, write: p.write });
      } else {
        const length = lengths.get(p) ?? 0;
        if (length === p.end - p.from) copy(p.at, p.from);
        else {
          const head = [tagBytes(p.field, 2), varintBytes(length)];
          pieces.push({ kind: 'new', length: head.reduce((n, h) => n + h.length, 0), write: () => head });
        }
        emit(p.from, p.end, p.parts);
      }
      at = p.end;
    }
    copy(at, stop);
  };
  lengthOf(from, end, parts);
  emit(from, end, parts);
  return pieces;
}

export const pieceBytes = (pieces: readonly Piece[]): number => pieces.reduce((n, p) => n + p.length, 0);
