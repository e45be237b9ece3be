import { describe, it } from 'vitest';
import { measured } from '../support/gradients/figures.ts';
import { extras } from './extras.rows.ts';

describe('gradients beside the tables', () => {
  it.each(extras.map((extra) => [extra.is, extra] as const))('%s', async (_, extra) => {
    await (extra.forward === true ? extra.run() : measured(extra.ops, extra.run));
  });
});
