/** Tensors in ONNX's textual syntax: all elements in braces, or only a hash of them. */
import { createHash } from 'node:crypto';
import { type ErrorPlace, textUnsupported } from '../../errors.ts';
import { numberCodecs, quoted } from '../../formats/onnxText.ts';
import { chunks, elementCount, type Tensor } from '../../graph/tensor.ts';

/** Larger tensors are elided unless the full text is requested. */
const inlineElements = 64;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A string literal; the syntax is text, so bytes that are not UTF-8 cannot be printed. */
export function stringText(bytes: Uint8Array, what: string, place: ErrorPlace): string {
  let s: string;
  try {
    s = utf8.decode(bytes);
  } catch {
    throw textUnsupported(`${what} contains bytes that are not UTF-8`, place);
  }
  return quoted(s);
}

/** The content after a tensor's type and name, in pieces, so that no large tensor becomes one string here. */
export function* contentPieces(
  tensor: Tensor,
  full: boolean | undefined,
  what: string,
  place: ErrorPlace,
): Iterable<string> {
  if (!full && elementCount(tensor.dims) > inlineElements) {
    // The form of external data, which the official parser reads and which cannot be mistaken for values.
    yield `["location": "elided", "sha256": "${contentHash(tensor)}"]`;
    return;
  }
  yield '{';
  if (tensor.payload.kind === 'strings') yield tensor.payload.values.map((s) => stringText(s, what, place)).join(', ');
  else yield* numberPieces(tensor);
  yield '}';
}

function* numberPieces(tensor: Tensor): Iterable<string> {
  if (tensor.dtype === 'string') return;
  const { bytes, read } = numberCodecs[tensor.dtype];
  let first = true;
  for (const chunk of wholeElements(chunks(tensor), bytes)) {
    const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    const texts: string[] = [];
    for (let at = 0; at < chunk.length; at += bytes) texts.push(read(view, at));
    if (!first) yield ', ';
    first = false;
    yield texts.join(', ');
  }
}

/** Chunks of computed tensors may end anywhere; these end between elements. */
function* wholeElements(source: Iterable<Uint8Array>, size: number): Iterable<Uint8Array> {
  let rest = new Uint8Array(0);
  for (const chunk of source) {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    const end = bytes.length - (bytes.length % size);
    if (end > 0) yield bytes.subarray(0, end);
    rest = bytes.slice(end);
  }
}

/** The first 16 hex digits of the SHA-256 of raw_data; strings are hashed with their lengths before them. */
function contentHash(tensor: Tensor): string {
  const hash = createHash('sha256');
  for (const chunk of chunks(tensor)) hash.update(chunk);
  if (tensor.payload.kind === 'strings') for (const s of tensor.payload.values) hash.update(`${s.length}:`).update(s);
  return hash.digest('hex').slice(0, 16);
}
