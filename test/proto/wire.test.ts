import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ByteSource, memorySource } from '../../src/graph/tensor.ts';
import {
  type ChangedPart,
  cursorOver,
  decodeMessage,
  encodeMessage,
  fieldBytes,
  fromLong,
  type Proto,
  pieceBytes,
  replacement,
  rewrite,
  tagBytes,
  toLong,
  varintBytes,
  walkFields,
} from '../../src/proto/index.ts';

const join = (...parts: readonly Uint8Array[]): Uint8Array => Uint8Array.from(parts.flatMap((p) => [...p]));
const bad = expect.objectContaining({ code: 'BAD_PROTOBUF' });

function walk(bytes: Uint8Array): { number: number; wireType: number; at: number; from: number; end: number }[] {
  const out: { number: number; wireType: number; at: number; from: number; end: number }[] = [];
  walkFields(cursorOver(memorySource('m', bytes)), 0, bytes.length, (f) => out.push({ ...f }));
  return out;
}

/** Any field as wire bytes, groups and packed runs included. */
const anyField = fc.oneof(
  fc
    .record({ n: fc.integer({ min: 1, max: 2 ** 29 - 1 }), v: fc.maxSafeNat() })
    .map(({ n, v }) => join(tagBytes(n, 0), varintBytes(v))),
  fc
    .record({ n: fc.integer({ min: 1, max: 99 }), v: fc.uint8Array({ minLength: 8, maxLength: 8 }) })
    .map(({ n, v }) => join(tagBytes(n, 1), v)),
  fc
    .record({ n: fc.integer({ min: 1, max: 99 }), v: fc.uint8Array({ maxLength: 300 }) })
    .map(({ n, v }) => fieldBytes(n, v)),
  fc
    .record({ n: fc.integer({ min: 1, max: 99 }), v: fc.uint8Array({ minLength: 4, maxLength: 4 }) })
    .map(({ n, v }) => join(tagBytes(n, 5), v)),
  fc
    .record({ n: fc.integer({ min: 1, max: 99 }), v: fc.uint8Array({ maxLength: 9 }) })
    .map(({ n, v }) => join(tagBytes(n, 3), tagBytes(7, 3), fieldBytes(1, v), tagBytes(7, 4), tagBytes(n, 4))),
);

describe('wire', () => {
  it('reads every varint that it writes, in any window', () => {
    fc.assert(
      fc.property(fc.array(fc.maxSafeNat(), { minLength: 1, maxLength: 50 }), (list) => {
        const cursor = cursorOver(memorySource('m', join(...list.map(varintBytes))));
        expect(list.map(() => cursor.varint())).toEqual(list);
      }),
    );
  });

  it('visits fields in order and without gaps', () => {
    fc.assert(
      fc.property(fc.array(anyField, { maxLength: 30 }), (fields) => {
        const bytes = join(...fields);
        const seen = walk(bytes);
        expect(seen.length).toBe(fields.length);
        let at = 0;
        for (const [i, f] of seen.entries()) {
          expect(f.at).toBe(at);
          at = f.end;
          expect(f.end - f.at).toBe(fields[i]?.length);
        }
        expect(at).toBe(bytes.length);
      }),
    );
  });

  it('agrees with protobufjs on what is a message', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 40 }),
          fc.array(anyField, { maxLength: 5 }).map((f) => join(...f).slice(0, -1)),
        ),
        (bytes) => {
          const ours = (): unknown => walk(bytes);
          let theirs = true;
          try {
            // A message without fields of its own: everything is unknown and only walked over.
            decodeMessage(
              'OpaqueTypeProto',
              bytes.filter(() => true),
            );
          } catch (error) {
            theirs = /utf/i.test(String(error));
          }
          let here = true;
          try {
            ours();
          } catch {
            here = false;
          }
          // We may be stricter (numbers beyond 2^32 in a tag), never laxer.
          if (here) expect(theirs).toBe(true);
        },
      ),
      { numRuns: 2000 },
    );
  });

  it('reads no more than it is asked for', () => {
    const payload = new Uint8Array(10 << 20);
    const bytes = join(tagBytes(1, 0), varintBytes(5));
    const head = join(bytes, tagBytes(2, 2), varintBytes(payload.length));
    const tail = join(tagBytes(3, 0), varintBytes(7));
    let read = 0;
    const source: ByteSource = {
      name: 'm',
      size: head.length + payload.length + tail.length,
      read(offset, length) {
        read += length;
        const out = new Uint8Array(length);
        for (let i = 0; i < length; i++) {
          const at = offset + i;
          out[i] = (at < head.length ? head[at] : tail[at - head.length - payload.length]) ?? 0;
        }
        return out;
      },
    };
    const seen: number[] = [];
    walkFields(cursorOver(source), 0, source.size, (f) => seen.push(f.number));
    expect(seen).toEqual([1, 2, 3]);
    expect(read).toBeLessThan(200_000);
  });

  it('refuses what is no wire format', () => {
    for (const bytes of [
      [0x00],
      [0x06],
      [0x07],
      [0x04],
      [0x08],
      [0x08, 0x80],
      [0x0a, 0x05, 1],
      [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
      [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
      [0x0b, 0x0b],
      [0x0b, 0x14],
      [0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x00],
      Array.from({ length: 300 }, () => 0x0b),
    ])
      expect(() => walk(Uint8Array.from(bytes)), String(bytes)).toThrow(bad);
  });
});

describe('rewrite', () => {
  it('changes places and the length prefixes around them, nothing else', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        fc.uint8Array({ maxLength: 400 }),
        fc.uint8Array({ maxLength: 99 }),
        (before, now, rest) => {
          const build = (x: Uint8Array): Uint8Array =>
            join(
              fieldBytes(1, rest),
              fieldBytes(2, join(fieldBytes(3, rest), fieldBytes(4, join(fieldBytes(5, x), fieldBytes(6, rest))))),
              fieldBytes(7, rest),
            );
          const source = build(before);
          const inner = (from: number, end: number, path: readonly number[]): ChangedPart[] => {
            const parts: ChangedPart[] = [];
            walkFields(cursorOver(memorySource('m', source)), from, end, (f) => {
              const { number, at, from: inside, end: stop } = f;
              if (number !== path[0]) return;
              if (path.length === 1)
                parts.push(
                  replacement(inside, stop, now),
                  replacement(at, inside, join(tagBytes(number, 2), varintBytes(now.length))),
                );
              else
                parts.push({
                  kind: 'message',
                  field: number,
                  at,
                  from: inside,
                  end: stop,
                  parts: inner(inside, stop, path.slice(1)).sort((a, b) => a.at - b.at),
                });
            });
            return parts;
          };
          const pieces = rewrite(0, source.length, inner(0, source.length, [2, 4, 5]));
          const out = join(
            ...pieces.flatMap((p) =>
              p.kind === 'copy' ? [source.subarray(p.offset, p.offset + p.length)] : [...p.write()],
            ),
          );
          expect(out).toEqual(build(now));
          expect(pieceBytes(pieces)).toBe(out.length);
        },
      ),
    );
  });
});

describe('messages', () => {
  it('keep absent and empty apart, and unknown fields', () => {
    const bytes = join(fieldBytes(1, new Uint8Array(0)), tagBytes(99, 0), varintBytes(300));
    const proto: Proto<'StringStringEntryProto'> = decodeMessage('StringStringEntryProto', bytes);
    expect(Object.hasOwn(proto, 'key')).toBe(true);
    expect(Object.hasOwn(proto, 'value')).toBe(false);
    expect(encodeMessage('StringStringEntryProto', proto)).toEqual(Buffer.from(bytes));
  });

  it('hold 64-bit integers exactly', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (n) => {
        const { ints } = decodeMessage('AttributeProto', encodeMessage('AttributeProto', { ints: [toLong(n, 'n')] }));
        expect(BigInt(ints.map(fromLong)[0] ?? 0)).toBe(n);
      }),
    );
    for (const n of [2n ** 63n, -(2n ** 63n) - 1n, 1.5, 2 ** 60, Number.NaN])
      expect(() => toLong(n, 'n')).toThrow(expect.objectContaining({ code: 'BAD_MODEL' }));
    expect(typeof fromLong(toLong(2n ** 53n, 'n'))).toBe('bigint');
    expect(fromLong(toLong(-(2n ** 53n) + 1n, 'n'))).toBe(Number.MIN_SAFE_INTEGER);
  });
});
