/** Random cases of each operator, run on ONNX Runtime. */
import { describe, it } from 'vitest';
import { cases } from '../../support/shapes/cases.ts';
import { check } from '../../support/shapes/oracle.ts';

/** Cases per operator; more for a longer search. */
const samples = Number(process.env.SAMPLES ?? 6);

describe('agrees with ONNX Runtime', () => {
  for (const [name, make] of Object.entries(cases))
    it(name, async () => {
      for (let seed = 1; seed <= samples; seed++) await check(make, seed, !name.startsWith('~'));
    });
});
