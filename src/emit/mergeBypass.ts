/** Removes a branch from a model file: its sum becomes an Identity of the base, its own nodes and weights go. */
import type { Node } from '../graph/model.ts';
import type { Tensor } from '../graph/tensor.ts';
import {
  type Change,
  type Changes,
  fieldBytes,
  type ModelSource,
  type Place,
  replacement,
  walkFields,
} from '../proto/index.ts';

export interface Bypass {
  /** The node that adds base and branch, and which input is the base. */
  readonly sum: Node;
  readonly keep: number;
  /** The nodes and initializers that only the branch needs. */
  readonly dead: readonly Node[];
  readonly weights: readonly Tensor[];
}

export function bypassBranch(source: ModelSource, change: Changes, { sum, keep, dead, weights }: Bypass): void {
  change.change(placeOf(source, sum), identityOf(keep));
  for (const item of [...dead, ...weights]) removeAt(source, change, item);
}

/** Removes a node, or the initializer with a tensor. */
export function removeAt(source: ModelSource, change: Changes, item: Tensor | Node): void {
  const place = placeOf(source, item);
  change.change(place.slice(0, -2), without(place.at(-2) ?? 0, place.at(-1) ?? 0));
}

export function placeOf(source: ModelSource, item: Tensor | Node): Place {
  const place = source.placeOf(item);
  if (place === undefined) throw new Error('a change refers to a tensor or node that is not part of this source');
  return place;
}

/** Makes a NodeProto of two inputs an Identity of one. */
const identityOf =
  (keep: number): Change =>
  (cursor, from, end) => {
    let index = 0;
    const inputs: { at: number; end: number }[] = [];
    const ops: { at: number; end: number }[] = [];
    walkFields(cursor, from, end, (f) => {
      if (f.wireType !== 2) return;
      if (f.number === 1 && index++ !== keep) inputs.push({ at: f.at, end: f.end });
      if (f.number === 4) ops.push({ at: f.at, end: f.end });
    });
    return [
      ...inputs.map((f) => replacement(f.at, f.end, new Uint8Array(0))),
      ...ops.map((f) => replacement(f.at, f.end, fieldBytes(4, new TextEncoder().encode('Identity')))),
    ];
  };

/** Removes the nth of the repeated fields with this number. */
const without =
  (field: number, nth: number): Change =>
  (cursor, from, end) => {
    let index = 0;
    let found: { at: number; end: number } | undefined;
    walkFields(cursor, from, end, (f) => {
      if (f.number === field && f.wireType === 2 && index++ === nth) found = { at: f.at, end: f.end };
    });
    return found === undefined ? [] : [replacement(found.at, found.end, new Uint8Array(0))];
  };
