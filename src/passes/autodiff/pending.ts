/** Operators that have a useful derivative and no rule yet, with what is missing: for docs and messages. */

const sequence = 'it holds a sequence or an optional, not a tensor';

/** By registry key: `Det`, `com.microsoft.FusedConv`. */
export const pending: ReadonlyMap<string, string> = new Map([
  ['Col2Im', 'the transposed gathering of blocks'],
  ['ConcatFromSequence', sequence],
  ['DFT', 'the transform of the gradient, with the one-sided form'],
  ['DeformConv', 'sampling at learned offsets'],
  ['Det', 'needs an inverse, which ONNX does not have'],
  ['DynamicQuantizeLinear', 'the scale depends on the data, the integers do not pass a gradient'],
  ['GridSample', 'sampling at given places'],
  ['MaxRoiPool', 'no indices of the maxima'],
  ['Optional', sequence],
  ['OptionalGetElement', sequence],
  ['RoiAlign', 'sampling at given places'],
  ['STFT', 'overlapping frames of DFT'],
  ['SequenceAt', sequence],
  ['SequenceConstruct', sequence],
  ['SequenceEmpty', sequence],
  ['SequenceErase', sequence],
  ['SequenceInsert', sequence],
  ['SequenceMap', sequence],
  ['SplitToSequence', sequence],
  ['Unique', 'repeated values share a gradient'],
]);

/** Operators that no newer opset has: normalization makes others of them, which are differentiated. */
export const renamed: ReadonlyMap<string, string> = new Map([
  ['Scatter', 'as ScatterElements'],
  ['Upsample', 'as Resize'],
]);
