/** Reads text files of any size line by line. */

import type { FileReader } from './files.ts';

const chunkBytes = 2 ** 20;

/**
 * The lines of a file with their offsets, without line ends; the last one may lack its end.
 * @param tooLong the error for a line of more than `most` bytes.
 */
export function* linesOf(
  reader: FileReader,
  most = Number.POSITIVE_INFINITY,
  tooLong = (line: number): Error => new Error(`line ${line} is too long`),
): Generator<{ offset: number; bytes: Uint8Array; line: number }> {
  let line = 1;
  let start = 0;
  let pieces: Uint8Array[] = [];
  let length = 0;
  for (let at = 0; at < reader.size; ) {
    const chunk = reader.read(at, Math.min(chunkBytes, reader.size - at));
    if (chunk.length === 0) break;
    let from = 0;
    for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, from)) {
      const bytes =
        pieces.length === 0 ? chunk.subarray(from, end) : Buffer.concat([...pieces, chunk.subarray(from, end)]);
      yield { offset: start, bytes, line };
      pieces = [];
      length = 0;
      line += 1;
      from = end + 1;
      start = at + from;
    }
    pieces.push(chunk.subarray(from));
    length += chunk.length - from;
    if (length > most) throw tooLong(line);
    at += chunk.length;
  }
  if (length > 0) yield { offset: start, bytes: Buffer.concat(pieces), line };
}
