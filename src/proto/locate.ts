/** Finds messages on the wire by their places, and collects the changes to make in them. */
import type { ByteSource } from '../graph/tensor.ts';
import { type ChangedPart, insertion } from './rewrite.ts';
import type { Place } from './source.ts';
import type { Stream } from './stream.ts';
import { type Cursor, cursorOver, walkFields } from './wire.ts';

/** Returns the changes inside the message in [from, end); it may walk the message's fields with the cursor. */
export type Change = (cursor: Cursor, from: number, end: number) => ChangedPart[];

interface Wanted {
  readonly inside: Map<string, Wanted>;
  readonly changes: Change[];
  /** Fields to insert before the message. */
  readonly before: Stream[];
}

export interface Changes {
  /** Registers a change of the message at this place. */
  change(place: Place, change: Change): void;
  /** Inserts a field before the message at this place. */
  insertBefore(place: Place, field: Stream): void;
  /** Walks the source once and returns the changed parts. */
  parts(source: ByteSource): ChangedPart[];
}

export function changes(): Changes {
  const make = (): Wanted => ({ inside: new Map(), changes: [], before: [] });
  const root = make();
  const at = (place: Place): Wanted => {
    let here = root;
    for (let i = 0; i < place.length; i += 2) {
      const key = `${place[i]}/${place[i + 1]}`;
      const next = here.inside.get(key) ?? make();
      here.inside.set(key, next);
      here = next;
    }
    return here;
  };
  return {
    change(place, change) {
      at(place).changes.push(change);
    },
    insertBefore(place, field) {
      at(place).before.push(field);
    },
    parts: (source) => partsOf(root, cursorOver(source), 0, source.size),
  };
}

function partsOf(wanted: Wanted, cursor: Cursor, from: number, end: number): ChangedPart[] {
  const parts = wanted.changes.flatMap((c) => c(cursor, from, end));
  if (wanted.inside.size > 0) {
    const counts = new Map<number, number>();
    walkFields(cursor, from, end, (field) => {
      if (field.wireType !== 2) return;
      const index = counts.get(field.number) ?? 0;
      counts.set(field.number, index + 1);
      const next = wanted.inside.get(`${field.number}/${index}`);
      if (next === undefined) return;
      const place = { field: field.number, at: field.at, from: field.from, end: field.end };
      for (const stream of next.before) parts.push(insertion(place.at, stream));
      const inside = partsOf(next, cursor, place.from, place.end);
      if (inside.length > 0) parts.push({ kind: 'message', ...place, parts: inside });
    });
  }
  // An insertion at the start of a message stays before it: the sort is stable.
  return parts.sort((a, b) => a.at - b.at);
}
