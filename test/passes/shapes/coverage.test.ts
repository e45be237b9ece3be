import { expect, it } from 'vitest';
import { contrib } from '../../../src/graph/contrib.ts';
import { operators } from '../../../src/graph/operators.ts';
import '../../../src/passes/shapes/index.ts';
import { shapeRuleKeys } from '../../../src/passes/shapes/rule.ts';

it('has a rule for every operator of the tables', () => {
  const known = new Set(shapeRuleKeys());
  expect([...Object.keys(operators), ...Object.keys(contrib)].filter((op) => !known.has(op))).toEqual([]);
});
