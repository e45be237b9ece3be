import { describe, expect, it } from 'vitest';
import { contrib } from '../../src/graph/contrib.ts';
import { isOpName, operators } from '../../src/graph/operators.ts';
import { gradientState, pending, renamed } from '../../src/passes/autodiff/index.ts';
import { ruleKeys } from '../../src/passes/autodiff/rules.ts';
import { cases, checks, exceptions } from '../support/gradients/checks.ts';
import { figures } from '../support/gradients/figures.ts';
import { hasEmptyInput } from '../support/gradients/tables.ts';
import { allRows } from './all.rows.ts';

describe('coverage of the operator table', () => {
  const names = Object.keys(operators).filter(isOpName);

  it.each(names)(
    '%s is differentiated, stopped, another since or on the list of what is missing, and on one list only',
    (op) => {
      expect([gradientState(op) !== undefined, pending.has(op), renamed.has(op)].filter(Boolean)).toHaveLength(1);
    },
  );

  it('contributed operators are differentiated', () => {
    const missing = Object.keys(contrib).filter((key) => !/^(rule|decomposition)$/.test(gradientState(key) ?? ''));
    expect(missing, 'no gradient rule: add one in src/passes/autodiff/gradients').toEqual([]);
  });

  it('an operator has one of rule, decomposition and stop', () => {
    const all = [...ruleKeys()];
    expect(all.length).toBe(new Set(all).size);
  });

  const differentiated = ruleKeys().filter((key) => gradientState(key) !== 'stopped');

  it('every rule and every decomposition has a row in a numeric table', () => {
    const tested = new Set(checks.flatMap((c) => c.ops));
    const missing = differentiated.filter((key) => !tested.has(key));
    expect(missing, 'no numeric row: add one to the table of its family, test/gradients/*.rows.ts').toEqual([]);
  });

  it('every rule and every decomposition has a row with an empty batch, or a reason why none', () => {
    const empty = new Set<string>(allRows.filter(hasEmptyInput).map((r) => r.op));
    const excepted = new Set(Object.entries(exceptions).flatMap(([key, e]) => (e?.empty === undefined ? [] : [key])));
    const missing = differentiated.filter(
      (key) => !key.startsWith('loraify.') && !empty.has(key) && !excepted.has(key),
    );
    expect(missing, 'no row with a length of 0: add one, or say why not in the exceptions of its table').toEqual([]);
    expect([...excepted].filter((key) => empty.has(key))).toEqual([]);
  });

  it('every numeric row is recorded on the page of operators', () => {
    const now = cases();
    const differ = [...new Set([...now.keys(), ...figures.keys()])].filter(
      (op) => now.get(op) !== figures.get(op)?.cases,
    );
    expect(differ, `other rows than the page has: npm run figures -- ${differ.join(' ')}`).toEqual([]);
  });

  it('what is missing has a reason', () => {
    for (const [op, reason] of pending) expect(reason, op).not.toBe('');
  });
});
