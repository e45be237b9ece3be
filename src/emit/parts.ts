/** Bytes that are put together from ranges of several sources, in sequence. */

/** A range: `length` bytes of `file` from `offset`, at `start` of the whole. */
export interface Part {
  readonly start: number;
  readonly length: number;
  readonly file: {
    readonly size: number;
    read(offset: number, length: number): Uint8Array;
    /** The bytes do not exist: a read of them alone throws, and one beyond them skips them. */
    readonly absent?: true;
  };
  readonly offset: number;
}

/** Bytes of the whole, at most up to its end. `parts` is in order and has no gaps. */
export function readParts(parts: readonly Part[], offset: number, length: number): Uint8Array {
  let index = partAt(parts, offset);
  const first = parts[index];
  if (first !== undefined && offset + length <= first.start + first.length)
    return first.file.read(first.offset + offset - first.start, length);
  const out = new Uint8Array(length);
  for (let done = 0; done < length; index++) {
    const part = parts[index];
    if (part === undefined) return out.subarray(0, done);
    const skip = offset + done - part.start;
    const size = Math.min(length - done, part.length - skip);
    // A read-ahead over more than a weight does not need the weight: it skips those bytes.
    if (part.file.absent !== true) out.set(part.file.read(part.offset + skip, size), done);
    done += size;
  }
  return out;
}

/** The last part that begins at or before `offset`. */
function partAt(parts: readonly Part[], offset: number): number {
  let low = 0;
  let high = parts.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((parts[middle]?.start ?? 0) <= offset) low = middle;
    else high = middle - 1;
  }
  return low;
}
