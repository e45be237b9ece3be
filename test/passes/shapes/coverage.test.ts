import { expect, it } from 'vitest';
import { operators } from '../../../src/graph/operators.ts';
import '../../../src/passes/shapes.ts';
import { shapeRuleKeys } from '../../../src/passes/shapes/rule.ts';

it('has a rule for every operator of the table', () => {
  const known = new Set(shapeRuleKeys());
  expect(Object.keys(operators).filter((op) => !known.has(op))).toEqual([]);
});
