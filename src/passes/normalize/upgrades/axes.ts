/** Attributes that became inputs: axes, shapes, pads, counts. */
import type { Value } from '../../../graph/model.ts';
import { type Upgrade, type UpgradeSite, upgrade } from '../upgrade.ts';

const reductions = [
  'ReduceL1',
  'ReduceL2',
  'ReduceLogSum',
  'ReduceLogSumExp',
  'ReduceMax',
  'ReduceMean',
  'ReduceMin',
  'ReduceProd',
  'ReduceSumSquare',
];

/** No axes and an empty list both mean all of them. */
function axesToInput({ x, attrs, g, again }: UpgradeSite): Value[] {
  const axes = attrs.ints('axes') ?? [];
  return again({ without: ['axes'], inputs: [x, axes.length === 0 ? undefined : g.ints(axes)] });
}

export const axesUpgrades: readonly Upgrade[] = [
  upgrade(reductions, { until: 17 }, axesToInput),
  upgrade(['ReduceSum', 'Squeeze', 'Unsqueeze'], { until: 12 }, axesToInput),

  upgrade('Slice', { until: 9 }, ({ x, attrs, g, again }) => {
    const starts = attrs.ints('starts') ?? [];
    const axes = attrs.ints('axes') ?? starts.map((_, i) => i);
    const bounds = [g.ints(starts), g.ints(attrs.ints('ends') ?? []), g.ints(axes)];
    return again({ without: ['starts', 'ends', 'axes'], inputs: [x, ...bounds] });
  }),

  upgrade('Pad', { until: 10 }, ({ x, attrs, g, again }) => {
    const value = attrs.float('value') ?? 0;
    const filler = value === 0 ? undefined : g.like(x, value);
    return again({ without: ['pads', 'value'], inputs: [x, g.ints(attrs.ints('pads') ?? []), filler] });
  }),

  upgrade('TopK', { until: 9 }, ({ x, attrs, g, again }) =>
    again({ without: ['k'], inputs: [x, g.ints([attrs.int('k') ?? 0])] }),
  ),

  // Without a split list the parts are equal, and since opset 18 their number has to be given.
  upgrade('Split', { until: 17 }, ({ node, x, inputs, attrs, g, again }) => {
    const lengths = attrs.ints('split');
    const split = lengths === undefined ? inputs[1] : g.ints(lengths);
    if (split !== undefined) return again({ without: ['split'], inputs: [x, split] });
    return again({ inputs: [x], attrs: { num_outputs: node.outputs.length } });
  }),

  // The defaults are the largest finite float32; leaving the bound out means the same for every type.
  upgrade('Clip', { until: 10 }, ({ x, attrs, g, again }) => {
    const bound = (name: string): Value | undefined => {
      const value = attrs.float(name);
      return value === undefined || Math.abs(value) >= largestFloat ? undefined : g.like(x, value);
    };
    return again({ without: ['min', 'max'], inputs: [x, bound('min'), bound('max')] });
  }),

  upgrade('DFT', { until: 19 }, ({ x, inputs, attrs, g, again }) =>
    again({ without: ['axis'], inputs: [x, inputs[1], g.int(attrs.int('axis') ?? 1)] }),
  ),
];

const largestFloat = 3.4028234e38;
