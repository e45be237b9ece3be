/** Operators that have a useful derivative and no rule yet, with what is missing: for docs and messages. */

const sequence = 'it holds a sequence or an optional, not a tensor';

/** By registry key: `Det`, `com.microsoft.FusedConv`. */
export const pending: ReadonlyMap<string, string> = new Map([
  ['ConcatFromSequence', sequence],
  ['Optional', sequence],
  ['OptionalGetElement', sequence],
  ['SequenceAt', sequence],
  ['SequenceConstruct', sequence],
  ['SequenceEmpty', sequence],
  ['SequenceErase', sequence],
  ['SequenceInsert', sequence],
  ['SequenceMap', sequence],
  ['SplitToSequence', sequence],
]);

/** Operators that no newer opset has: normalization makes others of them, which are differentiated. */
export const renamed: ReadonlyMap<string, string> = new Map([
  ['Scatter', 'as ScatterElements'],
  ['Upsample', 'as Resize'],
]);
