/** Tables that a graph reads with ids and positions, and what they demand from its inputs. */
import { describe, expect, it } from 'vitest';
import { compileModel } from '../../../src/compile/compileModel.ts';
import { resolveOptions } from '../../../src/compile/options.ts';
import type { LengthLimit, TableRange } from '../../../src/graph/tables.ts';
import { parseText } from '../../../src/parser/index.ts';
import { lengthLimits, tableRanges } from '../../../src/passes/index.ts';
import { coded } from '../../support/coded.ts';

const zeros = (count: number): string => new Array<string>(count).fill('0').join(', ');

/** Embeddings E (11 entries), and what `nodes` compute from the ids as `p`, in front of a layer. */
function tables(nodes: string, { inputs = 'int64[N,S] input_ids', domains = '"" : 17', seq }: Given = {}): Found {
  const text = `<ir_version: 8, opset_import: [${domains}]>
g (${inputs}) => (float[N,S,3] y)
<float[11,4] E = {${zeros(44)}}, float[8,4] P = {${zeros(32)}}, float[1,8,4] P3 = {${zeros(32)}},
 float[4,3] W = {${zeros(12)}}, int64[1,8] all = {0,1,2,3,4,5,6,7}, int64 i0 = {0}, int64 i1 = {1}, int64 i2 = {2},
 int64[1] v0 = {0}, int64[1] v1 = {1}, int64[1] v2 = {2}, int64[1] v4 = {4}, int64[1] last = {-1},
 int64[2] halves = {1, 1}>
{
  ${nodes}
  y = MatMul (h, W)
}`;
  const { prepared } = compileModel(parseText(text), resolveOptions({ rank: 2, loss: 'mse', emit: ['eval'], seq }));
  if (prepared === undefined) throw new Error('nothing is prepared');
  const { graph } = prepared.model;
  return {
    limits: Object.fromEntries(lengthLimits(graph, prepared.bindings.absent)),
    ranges: Object.fromEntries(tableRanges(graph)),
  };
}
interface Given {
  readonly inputs?: string;
  readonly domains?: string;
  readonly seq?: number;
}
interface Found {
  readonly limits: Readonly<Record<string, readonly LengthLimit[]>>;
  readonly ranges: Readonly<Record<string, readonly TableRange[]>>;
}

const length = 's = Shape <start = 1, end = 2> (input_ids) n = Squeeze (s)';
const embedded = 'e = Gather (E, input_ids)';
const flags = 'eq = Equal (input_ids, i1) ne = Not (eq) f = Cast <to = 7> (ne)';

describe('the length of a row', () => {
  it.each([
    ['a range', 'r = Range (i0, n, i1) p = Gather (P, r)', { table: 'P', most: 8 }],
    ['a range that starts at 2', 'a = Range (i0, n, i1) r = Add (a, i2) p = Gather (P, r)', { table: 'P', most: 6 }],
    ['a part of all positions', 'r = Slice (all, v0, s, v1) p = Gather (P, r)', { table: 'P', most: 8 }],
    ['a part of the table', 'p = Slice (P3, v0, s, v1)', { table: 'P3', most: 8 }],
    ['all but the first entries', 't = Add (s, v2) p = Slice (P3, v2, t, v1)', { table: 'P3', most: 6 }],
  ])('positions as %s', (_, nodes, limit) => {
    const { limits } = tables(`${length} ${embedded} ${nodes} h = Add (e, p)`);
    expect(limits).toEqual({ input_ids: [{ axis: 1, ...limit }] });
  });

  it('positions that count all ids but padding', () => {
    const nodes = `${embedded} ${flags} c = CumSum (f, i1) m = Mul (c, f) r = Add (m, i1) p = Gather (P, r)`;
    const { limits } = tables(`${nodes} h = Add (e, p)`);
    expect(limits).toEqual({ input_ids: [{ table: 'P', axis: 1, most: 6, except: 1 }] });
    expect(() => tables(`${nodes} h = Add (e, p)`, { seq: 7 })).toThrow(
      expect.toSatisfy(coded('BAD_OPTION', '--seq 7 does not fit the model: it has positions for 6 (table "P")')),
    );
    expect(tables(`${nodes} h = Add (e, p)`, { seq: 6 }).ranges).toHaveProperty('input_ids');
  });

  it('positions that count a mask, which data may lack', () => {
    const nodes = `${embedded} c = CumSum (attention_mask, i1) m = Mul (c, attention_mask) r = Sub (m, i1)
      q = Add (r, i2) p = Gather (P, q) h = Add (e, p)`;
    const { limits } = tables(nodes, { inputs: 'int64[N,S] input_ids, int64[N,S] attention_mask' });
    expect(limits).toEqual({
      attention_mask: [{ table: 'P', axis: 1, most: 6, except: 0 }],
      input_ids: [{ table: 'P', axis: 1, most: 6, unless: 'attention_mask' }],
    });
  });

  it.each([
    ['the mask that is counted', 'attention_mask', [{ table: 'P', axis: 1, most: 8, except: 0 }]],
    ['other elements', 'input_ids', undefined],
  ])('positions that are replaced where a condition on %s holds', (_, on, limit) => {
    const nodes = `${embedded} c = CumSum (attention_mask, i1) r = Sub (c, i1) z = Equal (${on}, i0)
      w = Where (z, i1, r) p = Gather (P, w) h = Add (e, p)`;
    const { limits } = tables(nodes, { inputs: 'int64[N,S] input_ids, int64[N,S] attention_mask' });
    expect(limits.attention_mask).toEqual(limit);
  });

  it('positions that are an input, which data may lack', () => {
    const nodes = `${embedded} p = Gather (P, position_ids) h = Add (e, p)`;
    const { limits } = tables(nodes, { inputs: 'int64[N,S] input_ids, int64[N,S] position_ids' });
    expect(limits).toEqual({ input_ids: [{ table: 'P', axis: 1, most: 8, unless: 'position_ids' }] });
  });

  it.each([
    ['clamped positions', 'a = Range (i0, n, i1) r = Min (a, i2) p = Gather (P, r) h = Add (e, p)'],
    [
      'positions clamped by a condition',
      'a = Range (i0, n, i1) c = Less (a, i2) r = Where (c, a, i2) p = Gather (P, r) h = Add (e, p)',
    ],
    ['a part that is summed', 'q = Slice (P3, v0, s, v1) p = ReduceSum (q, v1) h = Add (e, p)'],
    ['no positions', 'h = Identity (e)'],
  ])('%s are no limit', (_, nodes) => {
    expect(tables(`${length} ${embedded} ${nodes}`).limits).toEqual({});
  });
});

describe('ids of a table', () => {
  const ids = { inputs: 'int64[N,2,S] input_ids' };
  it.each([
    ['Split', 'a, b = Split <axis = 1> (input_ids, halves) x = Squeeze (a, v1) z = Squeeze (b, v1)'],
    ['Gather', 'x = Gather <axis = 1> (input_ids, i0) z = Gather <axis = 1> (input_ids, i1)'],
    [
      'Slice',
      'a = Slice (input_ids, v0, v1, v1) b = Slice (input_ids, last, v4, v1) x = Squeeze (a, v1) z = Squeeze (b, v1)',
    ],
  ])('parts that %s makes have ranges of their own', (_, nodes) => {
    const { ranges } = tables(`${nodes} e = Gather (E, x) p = Gather (P, z) h = Add (e, p)`, ids);
    expect(ranges.input_ids?.toSorted((a, b) => b.entries - a.entries)).toEqual([
      { table: 'E', entries: 11, least: 0, part: { axis: 1, from: 0, to: 1 } },
      { table: 'P', entries: 8, least: 0, part: { axis: 1, from: 1, to: 2 } },
    ]);
  });

  it('are all but the last token, if that only is a label', () => {
    const { ranges } = tables('a = Slice (input_ids, v0, last, v1) h = Gather (E, a)');
    expect(ranges.input_ids).toEqual([{ table: 'E', entries: 11, least: 0, part: { axis: 1, from: 0, to: -1 } }]);
  });

  it('are traced through Concat', () => {
    const { ranges } = tables(
      'a = Gather <axis = 1> (input_ids, v0) b = Concat <axis = 1> (input_ids, a) e = Gather (E, b) h = Slice (e, v0, last, v1)',
    );
    expect(ranges.input_ids).toContainEqual({ table: 'E', entries: 11, least: 0 });
  });

  it('are those of ONNX Runtime operators with tables too', () => {
    const { ranges, limits } = tables(
      `one = ConstantOfShape <value = int64[1] {1}> (v4) g = Cast <to = 1> (one)
       h, mi = com.microsoft.EmbedLayerNormalization (input_ids, token_type_ids, E, P, E, g, g)`,
      { inputs: 'int32[N,S] input_ids, int32[N,S] token_type_ids', domains: '"" : 17, "com.microsoft" : 1' },
    );
    expect(ranges).toEqual({
      input_ids: [{ table: 'E', entries: 11, least: 0 }],
      token_type_ids: [{ table: 'E', entries: 11, least: 0 }],
    });
    const limit = { table: 'P', axis: 1, most: 8 };
    expect(limits).toEqual({ input_ids: [limit], token_type_ids: [limit] });
  });
});
