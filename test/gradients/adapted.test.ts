import { describe, it } from 'vitest';
import { adaptedCases, checkAdapted } from './adapted.ts';
import { modes } from './harness.ts';

describe('gradient of the adapted product', () => {
  it.each(adaptedCases)('x $x, transW $transW, C $c', async (row) => {
    for (const mode of modes) await checkAdapted(row, mode);
  });
});
