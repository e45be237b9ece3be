/** Writes a rewritten message to a file: ranges of the source and new bytes, in sequence. */
import { closeSync, openSync } from 'node:fs';
import type { ByteSource } from '../graph/tensor.ts';
import type { Piece } from '../proto/index.ts';
import { writeAt } from './weights.ts';

const step = 4 << 20;

/** Writes a new file. Throws the errors of the file system. */
export function writePieces(source: ByteSource, pieces: readonly Piece[], path: string): void {
  const fd = openSync(path, 'wx');
  try {
    let at = 0;
    const put = (bytes: Uint8Array): void => {
      writeAt(fd, bytes, at);
      at += bytes.length;
    };
    for (const p of pieces) {
      if (p.kind === 'new') for (const bytes of p.write()) put(bytes);
      else
        for (let done = 0; done < p.length; done += step)
          put(source.read(p.offset + done, Math.min(step, p.length - done)));
    }
  } finally {
    closeSync(fd);
  }
}
