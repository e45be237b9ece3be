import { expect, it } from 'vitest';
import { cases, figures } from '../support/gradients/figures.ts';

it('figures.json counts the rows that there are (npm run figures writes it)', () => {
  expect(Object.fromEntries([...figures].map(([op, { cases: count }]) => [op, count]))).toEqual(
    Object.fromEntries(cases()),
  );
});
