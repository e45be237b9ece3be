/** The table of the compiler's own operators, the reader of its nodes, and the facts in rows of operators. */
import { describe, expect, it } from 'vitest';
import { LoraifyError } from '../../src/errors.ts';
import { type Attr, Node, Value } from '../../src/graph/model.ts';
import type { OpRow } from '../../src/graph/operatorRow.ts';
import { isCommutative, isRandom, operatorRow, operatorRows } from '../../src/graph/operators.ts';
import { gradientState } from '../../src/passes/autodiff/index.ts';
import { attrEntries, attrsOf, dialectNode, formOf } from '../../src/passes/dialect/nodes.ts';
import { type DialectKey, dialect, dialectFacts, isDialectKey, rows } from '../../src/passes/dialect/table.ts';
import '../../src/passes/shapes/index.ts';
import { shapeRuleKeys } from '../../src/passes/shapes/rule.ts';

const keys = Object.keys(dialect).filter(isDialectKey);

/** Rows without a shape rule: `insertMarker` gives the output the type of the carried input. */
const typedWhenMade: readonly DialectKey[] = [
  'loraify.Gelu',
  'loraify.GeluTanh',
  'loraify.Silu',
  'loraify.Standardized',
];
/** Rows without a gradient: canonicalization writes a Branch out before anything is differentiated. */
const notDifferentiated: readonly DialectKey[] = ['loraify.Branch'];

/** The code and the message of what is thrown. */
function refusal(run: () => unknown): readonly [string, string] {
  try {
    run();
  } catch (e) {
    if (e instanceof LoraifyError) return [e.code, e.message];
    throw e;
  }
  throw new Error('nothing was thrown');
}

const values = (count: number): Value[] => Array.from({ length: count }, (_, i) => new Value(`v${i}`));
const node = (key: string, inputs: number, attrs: readonly (readonly [string, Attr])[] = []): Node =>
  new Node({
    op: key.split('.')[1] ?? '',
    domain: 'loraify',
    name: 'n',
    inputs: values(inputs),
    outputs: values(1),
    attrs,
  });

describe('the dialect', () => {
  it('has a shape rule for every operator, but for those that are typed when they are made', () => {
    const ruled = new Set(shapeRuleKeys());
    expect(keys.filter((key) => !ruled.has(key))).toEqual(typedWhenMade);
    expect(keys.filter((key) => dialectFacts(key).carries !== undefined)).toEqual(typedWhenMade);
  });

  it('has a gradient rule for every operator that gradients meet, or stops there on purpose', () => {
    expect(keys.filter((key) => gradientState(key) === undefined)).toEqual(notDifferentiated);
    expect(keys.filter((key) => gradientState(key) === 'stopped')).toEqual(['loraify.Detach']);
  });

  it('has no rules for operators that are not in its table', () => {
    expect(shapeRuleKeys().filter((key) => key.startsWith('loraify.') && !isDialectKey(key))).toEqual([]);
  });

  it('carries on an input that the row has', () => {
    for (const key of keys) {
      const { carries, in: names } = dialectFacts(key);
      if (carries !== undefined) expect(names, key).toContain(carries);
    }
  });

  it('reads what it writes, and defaults', () => {
    const made = dialectNode('loraify.Silu', { alpha: 1.5 }, { name: 'n', inputs: values(3), outputs: values(1) });
    expect(formOf(made, 'loraify.Silu').attrs).toEqual({ alpha: 1.5 });
    const [base, keep] = attrEntries('loraify.Adapted', { base: 'Gemm', flip: undefined, keep: 0.5 });
    const adapted = node(
      'loraify.Adapted',
      4,
      [base, keep].filter((a) => a !== undefined),
    );
    expect(attrsOf(adapted, 'loraify.Adapted')).toMatchObject({
      base: 'Gemm',
      keep: 0.5,
      flip: 0,
      transW: 0,
      alpha: 1,
    });
    expect(attrsOf(adapted, 'loraify.Adapted').dtype).toBeUndefined();
  });

  it('refuses an attribute of another kind', () => {
    const wrong = node('loraify.Adapted', 4, [['transW', { kind: 'float', value: 1 }]]);
    expect(refusal(() => attrsOf(wrong, 'loraify.Adapted'))).toEqual([
      'BAD_MODEL',
      expect.stringContaining('loraify.Adapted "n" has attribute "transW" of kind float, not int'),
    ]);
  });

  it('refuses a node without a required attribute or input', () => {
    expect(refusal(() => formOf(node('loraify.GeluTanh', 5), 'loraify.GeluTanh'))).toEqual([
      'BAD_MODEL',
      expect.stringContaining('lacks its attribute "slope"'),
    ]);
    expect(refusal(() => formOf(node('loraify.Standardized', 2), 'loraify.Standardized'))).toEqual([
      'BAD_MODEL',
      expect.stringContaining('lacks a required input'),
    ]);
  });

  it('takes nodes of a model as they are', () => {
    const softmax = new Node({ op: 'Softmax', inputs: values(1), attrs: [['axis', { kind: 'float', value: 0 }]] });
    expect(attrsOf(softmax, 'Softmax').axis).toBe(-1);
  });
});

describe('facts of operators', () => {
  it('are asked of every new row: one without a kind does not compile', () => {
    // @ts-expect-error A row needs a kind.
    const row: OpRow = { in: ['X'], out: ['Y'] };
    expect(row.kind).toBeUndefined();
  });

  it.each(Object.entries<OpRow>(rows))('%s: fit its signature and one another', (_, row) => {
    expect(row.kind).toMatch(/^[a-z]+$/);
    const { attrs = {}, kind } = row;
    if (row.axis !== undefined) expect(attrs).toHaveProperty('axis');
    if (row.commutative === true) expect(row).toMatchObject({ kind: 'elementwise', broadcasts: true });
    if (row.broadcasts === true) expect(kind).toBe('elementwise');
    if (row.idempotent === true) expect(kind).toBe('reduction');
    const takesBodies = Object.values(attrs).some((a) => a.kind === 'graph');
    expect(kind === 'control').toBe(takesBodies);
    if (kind === 'view') expect(row.out).toHaveLength(1);
  });

  it('require no attributes of nodes that come from a model', () => {
    const required = Object.entries<OpRow>(operatorRows).filter(([, { attrs = {} }]) =>
      Object.values(attrs).some((a) => a.required === true),
    );
    expect(required).toEqual([]);
  });

  it('answer for nodes by domain and name', () => {
    const of = (op: string, domain = '', inputs = 2): Node => new Node({ op, domain, inputs: values(inputs) });
    expect([of('Add'), of('Sub'), of('Max'), of('MatMul'), of('Add', 'org.example')].map(isCommutative)).toEqual([
      true,
      false,
      true,
      false,
      false,
    ]);
    expect([of('Dropout'), of('Dropout', '', 3), of('Bernoulli'), of('Dropout', 'loraify', 3)].map(isRandom)).toEqual([
      false,
      true,
      true,
      false,
    ]);
    expect(operatorRow('com.microsoft.FusedMatMul')?.kind).toBe('matmul');
  });
});
