/** log.jsonl of a run: one object per step and per evaluation, each once, even after an interruption. */

import { closeSync, fsyncSync, openSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { openReader, writeWhole, writing } from '../../formats/files.ts';
import { linesOf } from '../../formats/lines.ts';

export const logName = 'log.jsonl';

export interface Log {
  /** Appends one line. Errors: WRITE_FAILED. */
  write(entry: object): void;
  /** Flushes to the disk. Errors: WRITE_FAILED. */
  flush(): void;
  close(): void;
}

/**
 * Opens log.jsonl for appending. Lines after step `upTo` and a truncated line are removed first, because the steps are
 * repeated. Errors: WRITE_FAILED.
 */
export function openLog(folder: string, upTo: number): Log {
  const file = join(folder, logName);
  const size = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  if (size > 0) writing(file, () => truncateSync(file, endOf(file, upTo)));
  const fd = writing(file, () => openSync(file, 'a'));
  return {
    write: (entry) => writing(file, () => writeWhole(fd, Buffer.from(`${JSON.stringify(entry)}\n`))),
    flush: () => writing(file, () => fsyncSync(fd)),
    close: () => closeSync(fd),
  };
}

/** The end of the last line of a step up to `upTo`. */
function endOf(file: string, upTo: number): number {
  const reader = openReader(file);
  try {
    let end = 0;
    for (const { offset, bytes } of linesOf(reader)) {
      const after = offset + bytes.length + 1;
      if (after <= reader.size && stepOf(bytes) <= upTo) end = after;
    }
    return end;
  } finally {
    reader.close();
  }
}

/** The step of a line; infinite for a line of another format. */
function stepOf(line: Uint8Array): number {
  try {
    const json: unknown = JSON.parse(Buffer.from(line).toString());
    const step = typeof json === 'object' && json !== null && 'step' in json ? json.step : undefined;
    return typeof step === 'number' ? step : Number.POSITIVE_INFINITY;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
