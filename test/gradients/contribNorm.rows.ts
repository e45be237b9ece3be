/** Contributed normalizations. */
import { type Case, f, int32, type Mode, sized } from '../support/gradients/harness.ts';

const simple = (inputs: Case['in'], attrs: object = {}, more: Partial<Case> = {}): Case => ({
  op: 'SimplifiedLayerNormalization',
  in: inputs,
  attrs,
  ...more,
});
type Skip = 'SkipLayerNormalization' | 'SkipSimplifiedLayerNormalization';
const skip =
  (op: Skip) =>
  (inputs: Case['in'], more: Partial<Case> = {}): Case => ({
    op: `com.microsoft.${op}`,
    in: inputs,
    dtype: 'float32',
    ...more,
  });
const both = { outputs: 4, loss: [0, 3] };
const sum = { outputs: 4, loss: [3] };
const [x, w] = [f([2, 3, 8]), f([8])];

const skips = (op: Skip): Case[] => {
  const s = skip(op);
  const bias = op === 'SkipLayerNormalization' ? [undefined, w] : [w];
  return [
    s([x, x, w]),
    s([x, x, w], { attrs: { epsilon: 0.1 } }),
    s([x, x, w, ...bias], both),
    s([x, x, w, ...bias], { ...sum, is: 'the sum alone' }),
    s([x, f([1, 3, 8]), w], both),
    s([x, f([3, 8]), w, ...bias]),
    s([f([6, 8]), f([6, 8]), w]),
  ];
};

// ONNX Runtime wants to know the widths.
const tables = { words: sized(f([4, 8])), places: sized(f([5, 8])), kinds: sized(f([2, 8])) };
const width = sized(w);
const widths: readonly Mode[] = ['static', 'symbolic', 'unknown'];
const embed = (inputs: Case['in'], more: Partial<Case> = {}): Case => ({
  op: 'com.microsoft.EmbedLayerNormalization',
  in: inputs,
  dtype: 'float32',
  outputs: 3,
  modes: widths,
  ...more,
});
const ids = int32([0, 2, 1, 3, 3, 0], [2, 3]);
const kinds = int32([0, 0, 1, 1, 1, 0], [2, 3]);
const at = int32([1, 2, 3, 0, 0, 4], [2, 3]);

export const rows: readonly Case[] = [
  simple([x, w]),
  simple([x, w], { epsilon: 0.1 }),
  simple([x, f([3, 8])], { axis: 1 }),
  simple([x, w], {}, { dtype: 'float32' }),
  ...skips('SkipSimplifiedLayerNormalization'),
  ...skips('SkipLayerNormalization'),
  skip('SkipLayerNormalization')([x, x, w, w, w], both),
  skip('SkipLayerNormalization')([x, x, w, w]),
  embed([ids, kinds, tables.words, tables.places, tables.kinds, width, width]),
  embed([ids, undefined, tables.words, tables.places, undefined, width, width], { loss: [0, 2] }),
  embed([ids, kinds, tables.words, tables.places, tables.kinds, width, width, ids, at], {
    loss: [0, 2],
    attrs: { epsilon: 0.1 },
  }),
  // Without known widths ONNX Runtime refuses it.
  embed([int32([], [0, 2]), int32([], [0, 2]), f([5, 3]), f([4, 3]), f([2, 3]), f([3]), f([3])], { modes: ['static'] }),
];
