/** Compares the content of tensors piece by piece, so that no weight is ever whole in memory. */
import { bytesOf, chunks, dataTypeBits, type Tensor } from './tensor.ts';

/** Whether two lists of pieces are the same bytes, however they are split. */
export function sameBytes(a: Iterable<Uint8Array>, b: Iterable<Uint8Array>): boolean {
  const [left, right] = [a[Symbol.iterator](), b[Symbol.iterator]()];
  let [x, y] = [new Uint8Array(), new Uint8Array()];
  for (;;) {
    [x, y] = [filled(x, left), filled(y, right)];
    const n = Math.min(x.length, y.length);
    if (n === 0) return x.length === y.length;
    if (Buffer.compare(x.subarray(0, n), y.subarray(0, n)) !== 0) return false;
    [x, y] = [x.subarray(n), y.subarray(n)];
  }
}

/** The bytes that are left of a piece, else the next piece that is not empty; empty at the end. */
function filled(left: Uint8Array<ArrayBuffer>, pieces: Iterator<Uint8Array>): Uint8Array<ArrayBuffer> {
  let piece = left;
  while (piece.length === 0) {
    const next = pieces.next();
    if (next.done === true) break;
    piece = next.value.slice();
  }
  return piece;
}

/** Whether two tensors have the same type, dims and bytes. */
export const sameContent = (a: Tensor, b: Tensor): boolean =>
  a === b ||
  (a.dtype === b.dtype &&
    a.dims.join() === b.dims.join() &&
    a.payload.kind !== 'strings' &&
    (sameRange(a, b) || sameBytes(chunks(a), chunks(b))));

/** Two initializers may refer to one range of external data. */
const sameRange = ({ payload: a }: Tensor, { payload: b }: Tensor): boolean =>
  a.kind === 'range' && b.kind === 'range' && a.source === b.source && a.offset === b.offset;

/** Bytes of the rows that are transposed at a time. */
const blockBytes = 4 << 20;

/** Whether a matrix is the transpose of another, in whole-byte types. */
export function isTransposeOf(a: Tensor, b: Tensor): boolean {
  const [rows = 0, columns = 0] = a.dims;
  const wide = dataTypeBits(a.dtype) / 8;
  if (a.dtype !== b.dtype || a.dims.length !== 2 || b.dims.join() !== `${columns},${rows}`) return false;
  if (!Number.isInteger(wide) || wide === 0) return false;
  const most = Math.max(1, Math.floor(blockBytes / (wide * Math.max(1, columns))));
  for (let from = 0; from < rows; from += most) {
    const count = Math.min(most, rows - from);
    const block = slice(a, from * columns * wide, count * columns * wide);
    for (let column = 0; column < columns; column++) {
      const line = slice(b, (column * rows + from) * wide, count * wide);
      for (let row = 0; row < count; row++)
        for (let byte = 0; byte < wide; byte++)
          if (block[(row * columns + column) * wide + byte] !== line[row * wide + byte]) return false;
    }
  }
  return true;
}

/** A copy of some bytes of a tensor. */
function slice(tensor: Tensor, offset: number, length: number): Uint8Array {
  const p = tensor.payload;
  if (p.kind === 'range') return p.source.read(p.offset + offset, length).slice();
  return bytesOf(tensor).slice(offset, offset + length);
}

/** The bytes of `count` elements from the element `from`, in whole-byte types. */
export function readRows(tensor: Tensor, from: number, count: number): Uint8Array {
  const wide = dataTypeBits(tensor.dtype) / 8;
  return slice(tensor, from * wide, count * wide);
}

/** Whether all elements of a tensor are equal, as in a weight that was never trained. */
export function isUniform(tensor: Tensor): boolean {
  const wide = Math.max(1, Math.ceil(dataTypeBits(tensor.dtype) / 8));
  let first: Uint8Array | undefined;
  let at = 0;
  for (const piece of chunks(tensor)) {
    first ??= piece.slice(0, wide);
    for (const byte of piece) if (byte !== first[at++ % wide]) return false;
  }
  return true;
}
