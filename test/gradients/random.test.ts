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

  it('are drawn from every operator that has a gradient', () => {
    const drawn = new Set<string>(steps.flatMap((s) => s.ops));
    const keys = ruleKeys().filter((key) => gradientState(key) !== 'stopped');
    expect(keys.filter((key) => !drawn.has(key)).sort()).toEqual(Object.keys(notDrawn).sort());
  });
});

const straight = 'its gradient is straight through the rounding, which no difference shows';
const rowsOnly = 'not drawn so far: numeric rows alone';

/** Operators that random graphs have not, and why. */
const notDrawn: Readonly<Record<string, string>> = {
  'loraify.Standardized': 'made by the compile out of LayerNorm and RMSNorm as they are written out, which are drawn',
  'loraify.Gelu': 'made by the compile out of Erf between products, which are drawn',
  'loraify.GeluTanh': 'made by the compile out of Tanh between products, which are drawn',
  'loraify.Silu': 'made by the compile out of Sigmoid and a product, which are drawn',
  'loraify.Joined': 'made by the compile for CUDA out of products that read one value',
  'loraify.Adapted': 'made by the compile out of MatMul and Gemm with weights, which are drawn',
  'loraify.Dropout': 'a random mask; passes/dialect/dropout.test.ts holds its gradient for all forms of a branch',
  QuantizeLinear: 'its gradient is that of the clipping alone, which no difference shows',
  'com.microsoft.GroupQueryAttention': 'a compile fixes its lengths and caches, so the source computes something else',
  'com.microsoft.BiasSoftmax': 'has no kernel on the CPU',
  DynamicQuantizeLinear: straight,
  MatMulInteger: straight,
  ConvInteger: straight,
  Unique: rowsOnly,
  Det: rowsOnly,
  DFT: rowsOnly,
  STFT: rowsOnly,
  Col2Im: rowsOnly,
  GridSample: rowsOnly,
  RoiAlign: rowsOnly,
  MaxRoiPool: rowsOnly,
  DeformConv: rowsOnly,
};
