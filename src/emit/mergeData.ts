/**
 * The single data file of a merged model: the source's data files one after another, with the changed weights at their
 * offsets.
 */
import { closeSync, constants, copyFileSync, openSync } from 'node:fs';
import { openReader } from '../formats/files.ts';
import type { Tensor } from '../graph/tensor.ts';
import type { ModelSource } from '../proto/index.ts';
import type { RawBytes } from './mergeTensor.ts';
import { writeAt } from './weights.ts';

/** Memory mapping requires page boundaries. */
const alignment = 4096;

export interface DataFilePlan {
  /** The offset of each external tensor in the new file. */
  readonly offsets: ReadonlyMap<Tensor, number>;
  /** Reserves space at the end and returns its offset. */
  add(length: number, write: RawBytes): number;
  /** Writes elements of an external tensor at its offset. */
  change(tensor: Tensor, write: RawBytes): void;
  /** Whether the file has any content. */
  readonly needed: boolean;
  write(path: string): void;
}

/** A changed tensor keeps its place unless an unchanged tensor overlaps it: then it is moved to the end. */
export function planDataFile(source: ModelSource, changed: ReadonlySet<Tensor>): DataFilePlan {
  const bases = new Map<string, number>();
  let end = 0;
  const align = (n: number): number => Math.ceil(n / alignment) * alignment;
  for (const f of source.externalFiles) {
    bases.set(f.location, align(end));
    end = align(end) + f.bytes;
  }
  const writes: { readonly offset: number; readonly write: RawBytes }[] = [];
  const shared = overlapping(source.externalTensors);
  const offsets = new Map<Tensor, number>();
  const add = (length: number): number => {
    const offset = align(end);
    end = offset + length;
    return offset;
  };
  for (const t of source.externalTensors) {
    const place = t.origin?.external;
    const base = place === undefined ? undefined : bases.get(place.location);
    if (place === undefined || base === undefined) continue;
    offsets.set(t, changed.has(t) && shared.has(t) ? add(t.byteLength) : base + place.offset);
  }
  return {
    offsets,
    get needed() {
      return end > 0;
    },
    add(length, write) {
      const offset = add(length);
      writes.push({ offset, write });
      return offset;
    },
    change(tensor, write) {
      const offset = offsets.get(tensor);
      if (offset !== undefined) writes.push({ offset, write });
    },
    write(path) {
      const [first, ...more] = source.externalFiles;
      if (first !== undefined) copyFileSync(first.path, path, constants.COPYFILE_FICLONE);
      const fd = openSync(path, first === undefined ? 'wx' : 'r+');
      try {
        for (const f of more) copyInto(fd, f.path, bases.get(f.location) ?? 0);
        for (const w of writes) {
          let at = w.offset;
          for (const bytes of w.write()) {
            writeAt(fd, bytes, at);
            at += bytes.length;
          }
        }
      } finally {
        closeSync(fd);
      }
    },
  };
}

/** Groups items by key, both in order of first appearance. */
export function grouped<K, T>(items: readonly T[], key: (item: T) => K): Map<K, T[]> {
  const out = new Map<K, T[]>();
  for (const item of items) {
    const list = out.get(key(item));
    if (list === undefined) out.set(key(item), [item]);
    else list.push(item);
  }
  return out;
}

/** Tensors that share bytes with another tensor. */
function overlapping(tensors: readonly Tensor[]): Set<Tensor> {
  const out = new Set<Tensor>();
  const files = grouped(tensors, (t) => t.origin?.external?.location ?? '');
  for (const list of files.values()) {
    const sorted = list.toSorted((a, b) => start(a) - start(b));
    let furthest: Tensor | undefined;
    for (const t of sorted) {
      if (furthest !== undefined && start(t) < start(furthest) + furthest.byteLength) out.add(t).add(furthest);
      if (furthest === undefined || start(t) + t.byteLength > start(furthest) + furthest.byteLength) furthest = t;
    }
  }
  return out;
}

const start = (t: Tensor): number => t.origin?.external?.offset ?? 0;

const step = 4 << 20;

function copyInto(fd: number, path: string, offset: number): void {
  const reader = openReader(path);
  try {
    for (let at = 0; at < reader.size; at += step)
      writeAt(fd, reader.read(at, Math.min(step, reader.size - at)), offset + at);
  } finally {
    reader.close();
  }
}
