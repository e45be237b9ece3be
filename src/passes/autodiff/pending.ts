/** Operators without their own gradient rule, with the reason: for docs and messages. */

const integers = 'integers of a scale of its own';
const sequence = 'where its content is known before the model runs';

/**
 * Operators that have a useful derivative and no rule, with what is missing. The key is the registry key:
 * `com.microsoft.BiasAdd`.
 */
export const pending: ReadonlyMap<string, string> = new Map([
  ['ai.onnx.ml.SVMClassifier', 'a machine of support vectors is a model of its own'],
  ['ai.onnx.ml.SVMRegressor', 'a machine of support vectors is a model of its own'],
  ['com.microsoft.BiasAdd', 'of CUDA only'],
  ['com.microsoft.BiasSplitGelu', 'of CUDA only'],
  ['com.microsoft.GatherBlockQuantized', 'a packed table is data'],
  ...['Add', 'LeakyRelu', 'Mul', 'Sigmoid', 'Softmax'].map((op) => [`com.microsoft.QLinear${op}`, integers] as const),
]);

/** Operators that normalization replaces with differentiable ones. */
export const renamed: ReadonlyMap<string, string> = new Map([
  ['Scatter', 'as ScatterElements'],
  ['Upsample', 'as Resize'],
  ['ConcatFromSequence', `as Concat ${sequence}`],
  ['Optional', sequence],
  ['OptionalGetElement', sequence],
  ['SequenceAt', sequence],
  ['SequenceConstruct', sequence],
  ['SequenceEmpty', sequence],
  ['SequenceErase', sequence],
  ['SequenceInsert', sequence],
  ['SequenceMap', `as its body once for each element ${sequence}`],
  ['SplitToSequence', `as Split ${sequence}`],
  ['com.microsoft.DequantizeLinear', 'as DequantizeLinear of the standard'],
  ['com.microsoft.TransposeMatMul', 'as FusedMatMul'],
  ['com.microsoft.QuantizeLinear', 'as QuantizeLinear of the standard'],
]);
