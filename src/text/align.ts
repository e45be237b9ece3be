/** Aligns tokens with the text that they came from. */

import type { Span } from './chatTemplate.ts';
import type { PostProcessorConfig, PreTokenizerConfig } from './schema.ts';
import type { Segment } from './segments.ts';

export interface MarkedEncoding {
  readonly ids: readonly number[];
  /** Whether a token overlaps a span. */
  readonly isMarked: readonly boolean[];
}

interface Alignment {
  normalized(text: string): string;
  /** The bytes of a token in the normalized text; undefined for an unknown one. */
  surface(id: number): { readonly bytes: number; readonly leading: number } | undefined;
  /** Blanks at the start of tokens do not count as theirs. */
  readonly trims: boolean;
}

const encoder = new TextEncoder();
const byteLength = (text: string): number => encoder.encode(text).length;

/** Undefined if a span begins or ends inside a segment whose tokens do not spell its text. */
export function marked(
  segments: readonly Segment[],
  spans: readonly Span[],
  how: Alignment,
): MarkedEncoding | undefined {
  const ids: number[] = [];
  const isMarked: boolean[] = [];
  for (const segment of segments) {
    const marks = marksOf(segment, spans, how);
    if (marks === undefined) return undefined;
    ids.push(...segment.ids);
    isMarked.push(...marks);
  }
  return { ids, isMarked };
}

function marksOf(segment: Segment, spans: readonly Span[], how: Alignment): readonly boolean[] | undefined {
  const { source, at, text, start, ids } = segment;
  const near = spans.filter((span) => span.start < at + source.length && span.end > at);
  if (near.length === 0) return ids.map(() => false);
  if (text === undefined) return ids.map(() => true);
  const local = near.map((span) => ({
    start: placeIn(source, Math.max(0, span.start - at), how),
    end: span.end - at > source.length ? Number.POSITIVE_INFINITY : placeIn(source, span.end - at, how),
  }));
  if (local.some((span) => span.start === undefined || span.end === undefined)) return undefined;
  const within = local
    .map((span) => ({ start: (span.start ?? 0) - start, end: (span.end ?? 0) - start }))
    .filter((span) => span.start < text.length && span.end > 0);
  if (within.length === 0) return ids.map(() => false);
  if (segment.isAdded === true || within.some((span) => span.start <= 0 && span.end >= text.length))
    return ids.map(() => true);
  return overlapping(text, ids, within, how);
}

/** A place of a section in its normalized form; undefined if the form of the text before it depends on the rest. */
function placeIn(source: string, place: number, { normalized }: Alignment): number | undefined {
  if (place === 0) return 0;
  const whole = normalized(source);
  if (whole === source) return place;
  if (place === source.length) return whole.length;
  const before = normalized(source.slice(0, place));
  // A normalizer may put a prefix in front of every text.
  const prefix = normalized('a').length - 1;
  return before + normalized(source.slice(place)).slice(prefix) === whole ? before.length : undefined;
}

function overlapping(
  text: string,
  ids: readonly number[],
  spans: readonly Span[],
  { surface, trims }: Alignment,
): readonly boolean[] | undefined {
  const pieces = ids.map(surface);
  const known = pieces.filter((piece) => piece !== undefined);
  if (known.length !== pieces.length) return undefined;
  const plain = text.replaceAll('▁', ' ');
  const total = known.reduce((sum, { bytes }) => sum + bytes, 0);
  // A blank that the tokenizer puts in front is not in the text.
  const extra = total - byteLength(plain);
  if (extra !== 0 && extra !== 1) return undefined;
  const inBytes = spans.map((span) => ({
    start: byteLength(plain.slice(0, Math.max(0, span.start))),
    end: span.end > plain.length ? Number.POSITIVE_INFINITY : byteLength(plain.slice(0, span.end)),
  }));
  let done = -extra;
  return known.map(({ bytes, leading }) => {
    const [from, to] = [done + (trims ? leading : 0), done + bytes];
    done += bytes;
    return inBytes.some((span) => to > span.start && from < span.end);
  });
}

/** Whether the letters of tokens stand for bytes. */
export function isByteLevel(config: PreTokenizerConfig): boolean {
  return config.type === 'Sequence' ? config.pretokenizers.some(isByteLevel) : config.type === 'ByteLevel';
}

/** Whether the post-processor leaves blanks out of the places of tokens. */
export function trimsOffsets(config: PostProcessorConfig | null | undefined): boolean {
  if (!config) return false;
  if (config.type === 'Sequence') return config.processors.some(trimsOffsets);
  return (config.type === 'ByteLevel' || config.type === 'RobertaProcessing') && config.trim_offsets;
}

/** The letter of GPT-2 for a blank. */
const blank = '\u0120';

export function surfaceOf(texts: ReadonlyMap<number, string>, byteLevel: boolean): Alignment['surface'] {
  return (id) => {
    const text = texts.get(id);
    if (text === undefined) return undefined;
    if (byteLevel) {
      const letters = Array.from(text);
      const first = letters.findIndex((letter) => letter !== blank);
      return { bytes: letters.length, leading: first < 0 ? letters.length : first };
    }
    if (/^<0x[0-9A-F]{2}>$/.test(text)) return { bytes: 1, leading: 0 };
    return { bytes: byteLength(text.replaceAll('▁', ' ')), leading: 0 };
  };
}
