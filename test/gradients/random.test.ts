/**
 * Random graphs over the operator table: a compile's forward and its gradients against the graph that was written down, and central
 * differences of it. Every graph has a seed; the values, shapes and operators follow from it alone.
 *
 *   RANDOM_GRAPHS=10000    how many (300 without)
 *   RANDOM_GRAPHS_SEED=1   seed of the first, the others follow
 *
 * A failure prints the seed, the smallest graph like it as ONNX text, and the command that runs it again.
 */
import { describe, expect, it } from 'vitest';
import { gradientState } from '../../src/passes/autodiff/index.ts';
import { ruleKeys } from '../../src/passes/autodiff/rules.ts';
import { exceptions } from '../support/gradients/checks.ts';
import { recipeOf } from '../support/randomGraphs/graph.ts';
import { problemsOf, report } from '../support/randomGraphs/run.ts';
import { steps } from '../support/randomGraphs/steps.ts';

const count = Number(process.env.RANDOM_GRAPHS ?? 300);
const first = Number(process.env.RANDOM_GRAPHS_SEED ?? 1);
const perTest = 100;

describe('random graphs', () => {
  const starts = Array.from({ length: Math.ceil(count / perTest) }, (_, i) => first + i * perTest);

  it.each(starts)('seeds from %i', async (from) => {
    const seeds = Array.from({ length: Math.min(perTest, first + count - from) }, (_, i) => from + i);
    const outcomes = await problemsOf(seeds.map(recipeOf));
    expect(outcomes.length).toBe(seeds.length);
    const wrong = outcomes.filter((o) => o.problem !== undefined);
    const [worst] = wrong;
    if (worst?.problem !== undefined) {
      const others = wrong.slice(1).map((o) => `seed ${seeds[o.at]}: ${o.problem}`);
      expect.fail([await report(seeds[worst.at] ?? from, worst.problem), ...others].join('\n\n'));
    }
    // Few say so little of their shapes that a gradient cannot be written down.
    expect(outcomes.filter((o) => o.refused).length).toBeLessThanOrEqual(0.2 * perTest);
  });

  it('are drawn from every operator that has a gradient, or there is a reason why not', () => {
    const drawn = new Set<string>(steps.flatMap((s) => s.ops));
    const excepted = new Set(Object.entries(exceptions).flatMap(([key, e]) => (e?.random === undefined ? [] : [key])));
    const missing = ruleKeys().filter(
      (key) => gradientState(key) !== 'stopped' && !drawn.has(key) && !excepted.has(key),
    );
    expect(missing, 'not in random graphs: add a step, or say why not in the exceptions of its table').toEqual([]);
    expect([...excepted].filter((key) => drawn.has(key))).toEqual([]);
  });
});
