import { describe, expect, it } from 'vitest';
import { contrib } from '../../src/graph/contrib.ts';
import { isOpName, operators } from '../../src/graph/operators.ts';
import { gradientState, pending, renamed } from '../../src/passes/autodiff/index.ts';
import { ruleKeys } from '../../src/passes/autodiff/rules.ts';
import { allRows } from './all.rows.ts';
import { controlRows } from './control.rows.ts';
import { unfilled } from './empty.rows.ts';
import { extras } from './extras.rows.ts';
import { loopRows } from './loop.rows.ts';

describe('coverage of the operator table', () => {
  const names = Object.keys(operators).filter(isOpName);

  it.each(names)(
    '%s is differentiated, stopped, another since or on the list of what is missing, and on one list only',
    (op) => {
      expect([gradientState(op) !== undefined, pending.has(op), renamed.has(op)].filter(Boolean)).toHaveLength(1);
    },
  );

  it.each(Object.keys(contrib))('%s is differentiated', (key) => {
    expect(gradientState(key)).toMatch(/^(rule|decomposition)$/);
  });

  it('an operator has one of rule, decomposition and stop', () => {
    const all = [...ruleKeys()];
    expect(all.length).toBe(new Set(all).size);
  });

  it('every rule and every decomposition has a row in a numeric table', () => {
    const tested = new Set<string>([
      ...allRows.map((r) => r.op),
      ...[...extras, ...controlRows, ...loopRows].flatMap((e) => e.ops),
    ]);
    const missing = [...ruleKeys()].filter((key) => gradientState(key) !== 'stopped' && !tested.has(key));
    expect(missing).toEqual([]);
  });

  it('every rule and every decomposition has a row with an empty batch, or a reason why none', () => {
    const empty = allRows.filter((r) => r.in.some((arg) => arg?.shape.includes(0))).map((r) => r.op);
    const accounted = new Set<string>([...empty, ...unfilled.keys()]);
    const internal = (key: string): boolean => key.startsWith('loraify.');
    const keys = [...ruleKeys()].filter((key) => gradientState(key) !== 'stopped' && !internal(key));
    expect(keys.filter((key) => !accounted.has(key))).toEqual([]);
    expect(empty.filter((op) => unfilled.has(op))).toEqual([]);
  });

  it('what is missing has a reason', () => {
    for (const [op, reason] of pending) expect(reason, op).not.toBe('');
  });
});
