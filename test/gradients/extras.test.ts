import { describe, it } from 'vitest';
import { extras } from './extras.ts';
import { measured } from './figures.ts';

describe('gradients beside the tables', () => {
  it.each(extras.map((extra) => [extra.is, extra] as const))('%s', async (_, extra) => {
    await (extra.forward === true ? extra.run() : measured(extra.ops, extra.run));
  });
});
