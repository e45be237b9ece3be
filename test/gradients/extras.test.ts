import { describe, it } from 'vitest';
import { extras } from './extras.ts';

describe('gradients beside the tables', () => {
  it.each(extras.map((extra) => [extra.is, extra] as const))('%s', async (_, extra) => {
    await extra.run();
  });
});
