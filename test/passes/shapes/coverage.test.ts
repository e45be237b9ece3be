import { expect, it } from 'vitest';
import { contrib } from '../../../src/graph/contrib.ts';
import { operators } from '../../../src/graph/operators.ts';
import '../../../src/passes/shapes/index.ts';
import { shapeRuleKeys } from '../../../src/passes/shapes/rule.ts';

const fix = 'name a kind in the row (`shape` of OpRow, graph/operatorRow.ts) or write a rule in src/passes/shapes';

it('has a rule for every operator of the tables', () => {
  const known = new Set(shapeRuleKeys());
  const missing = [...Object.keys(operators), ...Object.keys(contrib)].filter((op) => !known.has(op));
  expect(missing, `operators without a shape rule: ${fix}`).toEqual([]);
});
