import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Dim } from '../../../src/graph/model.ts';
import * as d from '../../../src/passes/shapes/dims.ts';

describe('dims', () => {
  it('prints equal expressions as equal strings', () => {
    expect(d.mul('S', 'N')).toBe('N*S');
    expect(d.mul('N', 'S')).toBe('N*S');
    expect(d.mul('S', 2)).toBe('2*S');
    expect(d.add('S', 'P')).toBe('P+S');
    expect(d.sub('S', 1)).toBe('S-1');
    expect(d.add(d.sub('S', 1), 1)).toBe('S');
    expect(d.mul(d.add('P', 'S'), 'N')).toBe('N*P+N*S');
    expect(d.sub(d.add('P', 'S'), 'P')).toBe('S');
    expect(d.sub('S', 'S')).toBe(0);
    expect(d.sub(1, 'S')).toBe('1-S');
  });

  it('divides exactly or not at all', () => {
    const total = d.product(['N', 'S', 768]);
    expect(d.divExact(total, d.mul('S', 'N'))).toBe(768);
    expect(d.divExact(total, 768)).toBe('N*S');
    expect(d.divExact(total, d.mul(12, 'N'))).toBe('64*S');
    expect(d.divExact(total, 'P')).toBeNull();
    expect(d.divExact(d.mul(d.add('P', 'S'), 'N'), d.add('S', 'P'))).toBe('N');
    expect(d.divExact(d.add('P', 'S'), 'S')).toBeNull();
    expect(d.divExact(7, 2)).toBeNull();
  });

  it('rounds divisions and keeps what divides', () => {
    expect(d.floorDiv('S', 2)).toBe('floor(S/2)');
    expect(d.floorDiv(d.mul('S', 4), 2)).toBe('2*S');
    expect(d.add(d.floorDiv(d.sub('H', 1), 2), 1)).toBe(d.floorDiv(d.add('H', 1), 2));
    expect(d.ceilDiv('S', 2)).toBe('floor((S+1)/2)');
    expect(d.mod(d.mul('S', 4), 2)).toBe(0);
    expect(d.truncDiv(-7, 2)).toBe(-3);
    expect(d.mod(-7, 2)).toBe(1);
  });

  it('orders what it can', () => {
    expect(d.max(d.sub('S', 1), 'S')).toBe('S');
    expect(d.min('S', d.add('P', 'S'))).toBe('S');
    expect(d.min('S', 512)).toBe('min(512,S)');
    expect(d.max('S', 0)).toBe('S');
  });

  it('broadcasts without guessing', () => {
    expect(d.broadcast([1, 'S', 4], ['N', 1, 4])).toEqual(['N', 'S', 4]);
    expect(d.broadcast(['S'], [null])).toEqual([null]);
    expect(d.broadcast([8], [null])).toEqual([8]);
    expect(d.broadcast([1], [null])).toEqual([null]);
    expect(d.broadcast(['S'], ['T'])).toEqual([null]);
    expect(d.broadcast(['S'], [3])).toEqual([3]);
    expect(d.broadcast([d.min('S', 512)], ['S'])).toEqual(['S']);
    expect(d.broadcast([3], undefined)).toBeUndefined();
  });

  it('takes symbols of a source as they are', () => {
    const odd = 'past + 1';
    expect(d.add(odd, 0)).toBe(odd);
    expect(d.mul(odd, 2)).toBe('2*"past + 1"');
    expect(d.divExact(d.mul(odd, 2), 2)).toBe(odd);
    expect(d.sub(d.add('a-b', 'b'), 'a')).not.toBe(0);
    expect(d.divExact('x*y', 'x')).toBeNull();
  });

  it('agrees with numbers on random expressions', () => {
    const symbols = { N: 3, S: 7, P: 5 };
    type Node = { readonly op: string; readonly a: Node; readonly b: Node } | Dim;
    const leaf = fc.oneof(fc.constantFrom('N', 'S', 'P'), fc.integer({ min: 0, max: 9 }));
    const tree = fc.letrec<{ tree: Node }>((tie) => ({
      tree: fc.oneof(
        { maxDepth: 4 },
        leaf,
        fc.record({ op: fc.constantFrom('+', '-', '*', '/', '%', 'm', 'M', 'x'), a: tie('tree'), b: tie('tree') }),
      ),
    })).tree;
    const symbolic = (n: Node): Dim => {
      if (n === null || typeof n !== 'object') return n;
      const [a, b] = [symbolic(n.a), symbolic(n.b)];
      const table: Record<string, (a: Dim, b: Dim) => Dim> = {
        '+': d.add,
        '-': d.sub,
        '*': d.mul,
        '/': d.truncDiv,
        '%': d.mod,
        m: d.min,
        M: d.max,
        x: d.divExact,
      };
      return table[n.op]?.(a, b) ?? null;
    };
    const numeric = (n: Node): number => {
      if (typeof n === 'number') return n;
      if (n === null || typeof n === 'string') return Object.entries(symbols).find(([k]) => k === n)?.[1] ?? NaN;
      const [a, b] = [numeric(n.a), numeric(n.b)];
      const table: Record<string, number> = {
        '+': a + b,
        '-': a - b,
        '*': a * b,
        '/': Math.trunc(a / b),
        '%': a - b * Math.floor(a / b),
        m: Math.min(a, b),
        M: Math.max(a, b),
        x: a / b,
      };
      return table[n.op] ?? NaN;
    };
    /** Reads a printed expression as JavaScript. */
    const evaluate = (dim: Dim): number =>
      Number(
        new Function('N', 'S', 'P', 'floor', 'min', 'max', `return ${dim}`)(
          symbols.N,
          symbols.S,
          symbols.P,
          Math.floor,
          Math.min,
          Math.max,
        ),
      );
    fc.assert(
      fc.property(tree, (n) => {
        const [got, want] = [symbolic(n), numeric(n)];
        // Division by zero is the model's own failure at run time.
        if (got !== null && Number.isFinite(want)) expect(evaluate(got) + 0).toBe(want + 0);
      }),
      { numRuns: 3000 },
    );
  });
});
