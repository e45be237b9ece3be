/**
 * SentencePiece's precompiled normalization: a double-array trie of byte sequences, and the texts that replace them. Each
 * grapheme cluster of fewer than six bytes is looked up as a whole, else its characters are.
 */

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** @param charsmap base64: the size of the trie in bytes, its units, and the replacements that end with NUL. */
export function precompiled(charsmap: string): (text: string) => string {
  const bytes = Uint8Array.from(atob(charsmap), (char) => char.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const size = bytes.length < 4 ? 0 : view.getUint32(0, true);
  if (size % 4 !== 0 || 4 + size > bytes.length) throw new RangeError('the precompiled_charsmap is cut');
  const trie = Uint32Array.from({ length: size / 4 }, (_, i) => view.getUint32(4 + 4 * i, true));
  const texts = bytes.subarray(4 + size);
  const segments = new Intl.Segmenter('en', { granularity: 'grapheme' });
  const known = new Map<string, string | undefined>();

  const replaced = (part: string): string | undefined => {
    if (known.has(part)) return known.get(part);
    const at = shortestPrefix(trie, encoder.encode(part));
    const found = at === undefined ? undefined : decoder.decode(texts.subarray(at, endOf(texts, at)));
    if (known.size < mostKnown) known.set(part, found);
    return found;
  };
  const normalized = (cluster: string): string => {
    const whole = encoder.encode(cluster).length < 6 ? replaced(cluster) : undefined;
    return whole ?? Array.from(cluster, (char) => replaced(char) ?? char).join('');
  };
  return (text) => {
    // A cluster of ASCII is one character, except for a line end of two.
    if (isPlain.test(text)) return Array.from(text, (char) => replaced(char) ?? char).join('');
    return Array.from(segments.segment(text), ({ segment }) => normalized(segment)).join('');
  };
}

/** The limit of the cache of replacements. */
const mostKnown = 2 ** 16;
const isPlain = /^[ -~]*$/;

/** The value of the shortest key that begins `key`. */
function shortestPrefix(trie: Uint32Array, key: Uint8Array): number | undefined {
  let unit = trie[0] ?? 0;
  let at = offsetOf(unit);
  for (const byte of key) {
    if (byte === 0) return undefined;
    at ^= byte;
    unit = trie[at] ?? 0;
    if ((unit & 0x8000_00ff) >>> 0 !== byte) return undefined;
    at ^= offsetOf(unit);
    if (((unit >>> 8) & 1) === 1) return (trie[at] ?? 0) & 0x7fff_ffff;
  }
  return undefined;
}

const offsetOf = (unit: number): number => (unit >>> 10) << ((unit & 0x200) >>> 6);

function endOf(texts: Uint8Array, from: number): number {
  const end = texts.indexOf(0, from);
  return end < 0 ? texts.length : end;
}
