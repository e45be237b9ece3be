/**
 * The operator table: one row per operator of ai.onnx in its newest form up to opset 26. Every typed surface (builder,
 * attributes, shape and gradient rules) derives from it and from the table of contributed operators beside it.
 *
 * Facts: https://github.com/onnx/onnx/blob/main/docs/Operators.md. Longer than 300 lines because it is one table.
 */
import { contrib } from './contrib.ts';
import type { Attr, Int, Node, Value } from './model.ts';
import {
  type AttrRow,
  type AttrTypes,
  float,
  floats,
  graph,
  int,
  ints,
  type OpRow,
  sparse,
  str,
  strs,
  tensor,
  type,
} from './operatorRow.ts';

// biome-ignore format: one row per operator
export const operators = {
  Abs: { in: ['X'], out: ['Y'] },
  Acos: { in: ['input'], out: ['output'] },
  Acosh: { in: ['input'], out: ['output'] },
  Add: { in: ['A', 'B'], out: ['C'] },
  AffineGrid: { in: ['theta', 'size'], out: ['grid'], attrs: { align_corners: int(0) } },
  And: { in: ['A', 'B'], out: ['C'] },
  ArgMax: { in: ['data'], out: ['reduced'], attrs: { axis: int(0), keepdims: int(1), select_last_index: int(0) } },
  ArgMin: { in: ['data'], out: ['reduced'], attrs: { axis: int(0), keepdims: int(1), select_last_index: int(0) } },
  Asin: { in: ['input'], out: ['output'] },
  Asinh: { in: ['input'], out: ['output'] },
  Atan: { in: ['input'], out: ['output'] },
  Atanh: { in: ['input'], out: ['output'] },
  Attention: { in: ['Q', 'K', 'V', 'attn_mask?', 'past_key?', 'past_value?', 'nonpad_kv_seqlen?'], out: ['Y', 'present_key?', 'present_value?', 'qk_matmul_output?'], attrs: { is_causal: int(0), kv_num_heads: int(), left_window_size: int(-1), q_num_heads: int(), qk_matmul_output_mode: int(0), right_window_size: int(-1), scale: float(), softcap: float(0), softmax_precision: int() } },
  AveragePool: { in: ['X'], out: ['Y'], attrs: { auto_pad: str('NOTSET'), ceil_mode: int(0), count_include_pad: int(0), dilations: ints(), kernel_shape: ints(), pads: ints(), strides: ints() } },
  BatchNormalization: { in: ['X', 'scale', 'B', 'input_mean', 'input_var'], out: ['Y', 'running_mean?', 'running_var?'], attrs: { epsilon: float(1e-05), momentum: float(0.9), training_mode: int(0) } },
  Bernoulli: { in: ['input'], out: ['output'], attrs: { dtype: int(), seed: float() } },
  BitCast: { in: ['input'], out: ['output'], attrs: { to: int() } },
  BitShift: { in: ['X', 'Y'], out: ['Z'], attrs: { direction: str() } },
  BitwiseAnd: { in: ['A', 'B'], out: ['C'] },
  BitwiseNot: { in: ['X'], out: ['Y'] },
  BitwiseOr: { in: ['A', 'B'], out: ['C'] },
  BitwiseXor: { in: ['A', 'B'], out: ['C'] },
  BlackmanWindow: { in: ['size'], out: ['output'], attrs: { output_datatype: int(1), periodic: int(1) } },
  Cast: { in: ['input'], out: ['output'], attrs: { round_mode: str('up'), saturate: int(1), to: int() } },
  CastLike: { in: ['input', 'target_type'], out: ['output'], attrs: { round_mode: str('up'), saturate: int(1) } },
  Ceil: { in: ['X'], out: ['Y'] },
  Celu: { in: ['X'], out: ['Y'], attrs: { alpha: float(1) } },
  CenterCropPad: { in: ['input_data', 'shape'], out: ['output_data'], attrs: { axes: ints() } },
  Clip: { in: ['input', 'min?', 'max?'], out: ['output'] },
  Col2Im: { in: ['input', 'image_shape', 'block_shape'], out: ['output'], attrs: { dilations: ints(), pads: ints(), strides: ints() } },
  Compress: { in: ['input', 'condition'], out: ['output'], attrs: { axis: int() } },
  Concat: { in: ['...inputs'], out: ['concat_result'], attrs: { axis: int() } },
  ConcatFromSequence: { in: ['input_sequence'], out: ['concat_result'], attrs: { axis: int(), new_axis: int(0) } },
  Constant: { in: [], out: ['output'], attrs: { sparse_value: sparse(), value: tensor(), value_float: float(), value_floats: floats(), value_int: int(), value_ints: ints(), value_string: str(), value_strings: strs() } },
  ConstantOfShape: { in: ['input'], out: ['output'], attrs: { value: tensor() } },
  Conv: { in: ['X', 'W', 'B?'], out: ['Y'], attrs: { auto_pad: str('NOTSET'), dilations: ints(), group: int(1), kernel_shape: ints(), pads: ints(), strides: ints() } },
  ConvInteger: { in: ['x', 'w', 'x_zero_point?', 'w_zero_point?'], out: ['y'], attrs: { auto_pad: str('NOTSET'), dilations: ints(), group: int(1), kernel_shape: ints(), pads: ints(), strides: ints() } },
  ConvTranspose: { in: ['X', 'W', 'B?'], out: ['Y'], attrs: { auto_pad: str('NOTSET'), dilations: ints(), group: int(1), kernel_shape: ints(), output_padding: ints(), output_shape: ints(), pads: ints(), strides: ints() } },
  Cos: { in: ['input'], out: ['output'] },
  Cosh: { in: ['input'], out: ['output'] },
  CumProd: { in: ['x', 'axis'], out: ['y'], attrs: { exclusive: int(0), reverse: int(0) } },
  CumSum: { in: ['x', 'axis'], out: ['y'], attrs: { exclusive: int(0), reverse: int(0) } },
  DFT: { in: ['input', 'dft_length?', 'axis?'], out: ['output'], attrs: { inverse: int(0), onesided: int(0) } },
  DeformConv: { in: ['X', 'W', 'offset', 'B?', 'mask?'], out: ['Y'], attrs: { dilations: ints(), group: int(1), kernel_shape: ints(), offset_group: int(1), pads: ints(), strides: ints() } },
  DepthToSpace: { in: ['input'], out: ['output'], attrs: { blocksize: int(), mode: str('DCR') } },
  DequantizeLinear: { in: ['x', 'x_scale', 'x_zero_point?'], out: ['y'], attrs: { axis: int(1), block_size: int(0), output_dtype: int(0) } },
  Det: { in: ['X'], out: ['Y'] },
  Div: { in: ['A', 'B'], out: ['C'] },
  Dropout: { in: ['data', 'ratio?', 'training_mode?'], out: ['output', 'mask?'], attrs: { seed: int() } },
  DynamicQuantizeLinear: { in: ['x'], out: ['y', 'y_scale', 'y_zero_point'] },
  Einsum: { in: ['...Inputs'], out: ['Output'], attrs: { equation: str() } },
  Elu: { in: ['X'], out: ['Y'], attrs: { alpha: float(1) } },
  Equal: { in: ['A', 'B'], out: ['C'] },
  Erf: { in: ['input'], out: ['output'] },
  Exp: { in: ['input'], out: ['output'] },
  Expand: { in: ['input', 'shape'], out: ['output'] },
  EyeLike: { in: ['input'], out: ['output'], attrs: { dtype: int(), k: int(0) } },
  Flatten: { in: ['input'], out: ['output'], attrs: { axis: int(1) } },
  Floor: { in: ['X'], out: ['Y'] },
  GRU: { in: ['X', 'W', 'R', 'B?', 'sequence_lens?', 'initial_h?'], out: ['Y?', 'Y_h?'], attrs: { activation_alpha: floats(), activation_beta: floats(), activations: strs(), clip: float(), direction: str('forward'), hidden_size: int(), layout: int(0), linear_before_reset: int(0) } },
  Gather: { in: ['data', 'indices'], out: ['output'], attrs: { axis: int(0) } },
  GatherElements: { in: ['data', 'indices'], out: ['output'], attrs: { axis: int(0) } },
  GatherND: { in: ['data', 'indices'], out: ['output'], attrs: { batch_dims: int(0) } },
  Gelu: { in: ['X'], out: ['Y'], attrs: { approximate: str('none') } },
  Gemm: { in: ['A', 'B', 'C?'], out: ['Y'], attrs: { alpha: float(1), beta: float(1), transA: int(0), transB: int(0) } },
  GlobalAveragePool: { in: ['X'], out: ['Y'] },
  GlobalLpPool: { in: ['X'], out: ['Y'], attrs: { p: int(2) } },
  GlobalMaxPool: { in: ['X'], out: ['Y'] },
  Greater: { in: ['A', 'B'], out: ['C'] },
  GreaterOrEqual: { in: ['A', 'B'], out: ['C'] },
  GridSample: { in: ['X', 'grid'], out: ['Y'], attrs: { align_corners: int(0), mode: str('linear'), padding_mode: str('zeros') } },
  GroupNormalization: { in: ['X', 'scale', 'bias'], out: ['Y'], attrs: { epsilon: float(1e-05), num_groups: int(), stash_type: int(1) } },
  HammingWindow: { in: ['size'], out: ['output'], attrs: { output_datatype: int(1), periodic: int(1) } },
  HannWindow: { in: ['size'], out: ['output'], attrs: { output_datatype: int(1), periodic: int(1) } },
  HardSigmoid: { in: ['X'], out: ['Y'], attrs: { alpha: float(0.2), beta: float(0.5) } },
  HardSwish: { in: ['X'], out: ['Y'] },
  Hardmax: { in: ['input'], out: ['output'], attrs: { axis: int(-1) } },
  Identity: { in: ['input'], out: ['output'] },
  If: { in: ['cond'], out: ['...outputs'], attrs: { else_branch: graph(), then_branch: graph() } },
  ImageDecoder: { in: ['encoded_stream'], out: ['image'], attrs: { pixel_format: str('RGB') } },
  InstanceNormalization: { in: ['input', 'scale', 'B'], out: ['output'], attrs: { epsilon: float(1e-05) } },
  IsInf: { in: ['X'], out: ['Y'], attrs: { detect_negative: int(1), detect_positive: int(1) } },
  IsNaN: { in: ['X'], out: ['Y'] },
  LRN: { in: ['X'], out: ['Y'], attrs: { alpha: float(0.0001), beta: float(0.75), bias: float(1), size: int() } },
  LSTM: { in: ['X', 'W', 'R', 'B?', 'sequence_lens?', 'initial_h?', 'initial_c?', 'P?'], out: ['Y?', 'Y_h?', 'Y_c?'], attrs: { activation_alpha: floats(), activation_beta: floats(), activations: strs(), clip: float(), direction: str('forward'), hidden_size: int(), input_forget: int(0), layout: int(0) } },
  LayerNormalization: { in: ['X', 'Scale', 'B?'], out: ['Y', 'Mean?', 'InvStdDev?'], attrs: { axis: int(-1), epsilon: float(1e-05), stash_type: int(1) } },
  LeakyRelu: { in: ['X'], out: ['Y'], attrs: { alpha: float(0.01) } },
  Less: { in: ['A', 'B'], out: ['C'] },
  LessOrEqual: { in: ['A', 'B'], out: ['C'] },
  Log: { in: ['input'], out: ['output'] },
  LogSoftmax: { in: ['input'], out: ['output'], attrs: { axis: int(-1) } },
  Loop: { in: ['M?', 'cond?', '...v_initial'], out: ['...v_final_and_scan_outputs'], attrs: { body: graph() } },
  LpNormalization: { in: ['input'], out: ['output'], attrs: { axis: int(-1), p: int(2) } },
  LpPool: { in: ['X'], out: ['Y'], attrs: { auto_pad: str('NOTSET'), ceil_mode: int(0), dilations: ints(), kernel_shape: ints(), p: int(2), pads: ints(), strides: ints() } },
  MatMul: { in: ['A', 'B'], out: ['Y'] },
  MatMulInteger: { in: ['A', 'B', 'a_zero_point?', 'b_zero_point?'], out: ['Y'] },
  Max: { in: ['...data_0'], out: ['max'] },
  MaxPool: { in: ['X'], out: ['Y', 'Indices?'], attrs: { auto_pad: str('NOTSET'), ceil_mode: int(0), dilations: ints(), kernel_shape: ints(), pads: ints(), storage_order: int(0), strides: ints() } },
  MaxRoiPool: { in: ['X', 'rois'], out: ['Y'], attrs: { pooled_shape: ints(), spatial_scale: float(1) } },
  MaxUnpool: { in: ['X', 'I', 'output_shape?'], out: ['output'], attrs: { kernel_shape: ints(), pads: ints(), strides: ints() } },
  Mean: { in: ['...data_0'], out: ['mean'] },
  MeanVarianceNormalization: { in: ['X'], out: ['Y'], attrs: { axes: ints([0, 2, 3]) } },
  MelWeightMatrix: { in: ['num_mel_bins', 'dft_length', 'sample_rate', 'lower_edge_hertz', 'upper_edge_hertz'], out: ['output'], attrs: { output_datatype: int(1) } },
  Min: { in: ['...data_0'], out: ['min'] },
  Mish: { in: ['X'], out: ['Y'] },
  Mod: { in: ['A', 'B'], out: ['C'], attrs: { fmod: int(0) } },
  Mul: { in: ['A', 'B'], out: ['C'] },
  Multinomial: { in: ['input'], out: ['output'], attrs: { dtype: int(6), sample_size: int(1), seed: float() } },
  Neg: { in: ['X'], out: ['Y'] },
  NegativeLogLikelihoodLoss: { in: ['input', 'target', 'weight?'], out: ['loss'], attrs: { ignore_index: int(), reduction: str('mean') } },
  NonMaxSuppression: { in: ['boxes', 'scores', 'max_output_boxes_per_class?', 'iou_threshold?', 'score_threshold?'], out: ['selected_indices'], attrs: { center_point_box: int(0) } },
  NonZero: { in: ['X'], out: ['Y'] },
  Not: { in: ['X'], out: ['Y'] },
  OneHot: { in: ['indices', 'depth', 'values'], out: ['output'], attrs: { axis: int(-1) } },
  Optional: { in: ['input?'], out: ['output'], attrs: { type: type() } },
  OptionalGetElement: { in: ['input'], out: ['output'] },
  OptionalHasElement: { in: ['input?'], out: ['output'] },
  Or: { in: ['A', 'B'], out: ['C'] },
  PRelu: { in: ['X', 'slope'], out: ['Y'] },
  Pad: { in: ['data', 'pads', 'constant_value?', 'axes?'], out: ['output'], attrs: { mode: str('constant') } },
  Pow: { in: ['X', 'Y'], out: ['Z'] },
  QLinearConv: { in: ['x', 'x_scale', 'x_zero_point', 'w', 'w_scale', 'w_zero_point', 'y_scale', 'y_zero_point', 'B?'], out: ['y'], attrs: { auto_pad: str('NOTSET'), dilations: ints(), group: int(1), kernel_shape: ints(), pads: ints(), strides: ints() } },
  QLinearMatMul: { in: ['a', 'a_scale', 'a_zero_point', 'b', 'b_scale', 'b_zero_point', 'y_scale', 'y_zero_point'], out: ['y'] },
  QuantizeLinear: { in: ['x', 'y_scale', 'y_zero_point?'], out: ['y'], attrs: { axis: int(1), block_size: int(0), output_dtype: int(0), precision: int(0), saturate: int(1) } },
  RMSNormalization: { in: ['X', 'scale'], out: ['Y'], attrs: { axis: int(-1), epsilon: float(1e-05), stash_type: int(1) } },
  RNN: { in: ['X', 'W', 'R', 'B?', 'sequence_lens?', 'initial_h?'], out: ['Y?', 'Y_h?'], attrs: { activation_alpha: floats(), activation_beta: floats(), activations: strs(['Tanh', 'Tanh']), clip: float(), direction: str('forward'), hidden_size: int(), layout: int(0) } },
  RandomNormal: { in: [], out: ['output'], attrs: { dtype: int(1), mean: float(0), scale: float(1), seed: float(), shape: ints() } },
  RandomNormalLike: { in: ['input'], out: ['output'], attrs: { dtype: int(), mean: float(0), scale: float(1), seed: float() } },
  RandomUniform: { in: [], out: ['output'], attrs: { dtype: int(1), high: float(1), low: float(0), seed: float(), shape: ints() } },
  RandomUniformLike: { in: ['input'], out: ['output'], attrs: { dtype: int(), high: float(1), low: float(0), seed: float() } },
  Range: { in: ['start', 'limit', 'delta'], out: ['output'] },
  Reciprocal: { in: ['X'], out: ['Y'] },
  ReduceL1: { in: ['data', 'axes?'], out: ['reduced'], attrs: { keepdims: int(1), noop_with_empty_axes: int(0) } },
  ReduceL2: { in: ['data', 'axes?'], out: ['reduced'], attrs: { keepdims: int(1), noop_with_empty_axes: int(0) } },
  ReduceLogSum: { in: ['data', 'axes?'], out: ['reduced'], attrs: { keepdims: int(1), noop_with_empty_axes: int(0) } },
  ReduceLogSumExp: { in: ['data', 'axes?'], out: ['reduced'], attrs: { keepdims: int(1), noop_with_empty_axes: int(0) } },
  ReduceMax: { in: ['data', 'axes?'], out: ['reduced'], attrs: { keepdims: int(1), noop_with_empty_axes: int(0) } },
  ReduceMean: { in: ['data', 'axes?'], out: ['reduced'], attrs: { keepdims: int(1), noop_with_empty_axes: int(0) } },
  ReduceMin: { in: ['data', 'axes?'], out: ['reduced'], attrs: { keepdims: int(1), noop_with_empty_axes: int(0) } },
  ReduceProd: { in: ['data', 'axes?'], out: ['reduced'], attrs: { keepdims: int(1), noop_with_empty_axes: int(0) } },
  ReduceSum: { in: ['data', 'axes?'], out: ['reduced'], attrs: { keepdims: int(1), noop_with_empty_axes: int(0) } },
  ReduceSumSquare: { in: ['data', 'axes?'], out: ['reduced'], attrs: { keepdims: int(1), noop_with_empty_axes: int(0) } },
  RegexFullMatch: { in: ['X'], out: ['Y'], attrs: { pattern: str() } },
  Relu: { in: ['X'], out: ['Y'] },
  Reshape: { in: ['data', 'shape'], out: ['reshaped'], attrs: { allowzero: int(0) } },
  Resize: { in: ['X', 'roi?', 'scales?', 'sizes?'], out: ['Y'], attrs: { antialias: int(0), axes: ints(), coordinate_transformation_mode: str('half_pixel'), cubic_coeff_a: float(-0.75), exclude_outside: int(0), extrapolation_value: float(0), keep_aspect_ratio_policy: str('stretch'), mode: str('nearest'), nearest_mode: str('round_prefer_floor') } },
  ReverseSequence: { in: ['input', 'sequence_lens'], out: ['Y'], attrs: { batch_axis: int(1), time_axis: int(0) } },
  RoiAlign: { in: ['X', 'rois', 'batch_indices'], out: ['Y'], attrs: { coordinate_transformation_mode: str('half_pixel'), mode: str('avg'), output_height: int(1), output_width: int(1), sampling_ratio: int(0), spatial_scale: float(1) } },
  RotaryEmbedding: { in: ['X', 'cos_cache', 'sin_cache', 'position_ids?'], out: ['Y'], attrs: { interleaved: int(0), num_heads: int(), rotary_embedding_dim: int(0) } },
  Round: { in: ['X'], out: ['Y'] },
  STFT: { in: ['signal', 'frame_step', 'window?', 'frame_length?'], out: ['output'], attrs: { onesided: int(1) } },
  Scan: { in: ['...initial_state_and_scan_inputs'], out: ['...final_state_and_scan_outputs'], attrs: { body: graph(), num_scan_inputs: int(), scan_input_axes: ints(), scan_input_directions: ints(), scan_output_axes: ints(), scan_output_directions: ints() } },
  Scatter: { in: ['data', 'indices', 'updates'], out: ['output'], attrs: { axis: int(0) } },
  ScatterElements: { in: ['data', 'indices', 'updates'], out: ['output'], attrs: { axis: int(0), reduction: str('none') } },
  ScatterND: { in: ['data', 'indices', 'updates'], out: ['output'], attrs: { reduction: str('none') } },
  Selu: { in: ['X'], out: ['Y'], attrs: { alpha: float(1.67326319), gamma: float(1.05070102) } },
  SequenceAt: { in: ['input_sequence', 'position'], out: ['tensor'] },
  SequenceConstruct: { in: ['...inputs'], out: ['output_sequence'] },
  SequenceEmpty: { in: [], out: ['output'], attrs: { dtype: int() } },
  SequenceErase: { in: ['input_sequence', 'position?'], out: ['output_sequence'] },
  SequenceInsert: { in: ['input_sequence', 'tensor', 'position?'], out: ['output_sequence'] },
  SequenceLength: { in: ['input_sequence'], out: ['length'] },
  SequenceMap: { in: ['input_sequence', '...additional_inputs'], out: ['...out_sequence'], attrs: { body: graph() } },
  Shape: { in: ['data'], out: ['shape'], attrs: { end: int(), start: int(0) } },
  Shrink: { in: ['input'], out: ['output'], attrs: { bias: float(0), lambd: float(0.5) } },
  Sigmoid: { in: ['X'], out: ['Y'] },
  Sign: { in: ['input'], out: ['output'] },
  Sin: { in: ['input'], out: ['output'] },
  Sinh: { in: ['input'], out: ['output'] },
  Size: { in: ['data'], out: ['size'] },
  Slice: { in: ['data', 'starts', 'ends', 'axes?', 'steps?'], out: ['output'] },
  Softmax: { in: ['input'], out: ['output'], attrs: { axis: int(-1) } },
  SoftmaxCrossEntropyLoss: { in: ['scores', 'labels', 'weights?'], out: ['output', 'log_prob?'], attrs: { ignore_index: int(), reduction: str('mean') } },
  Softplus: { in: ['X'], out: ['Y'] },
  Softsign: { in: ['input'], out: ['output'] },
  SpaceToDepth: { in: ['input'], out: ['output'], attrs: { blocksize: int() } },
  Split: { in: ['input', 'split?'], out: ['...outputs'], attrs: { axis: int(0), num_outputs: int() } },
  SplitToSequence: { in: ['input', 'split?'], out: ['output_sequence'], attrs: { axis: int(0), keepdims: int(1) } },
  Sqrt: { in: ['X'], out: ['Y'] },
  Squeeze: { in: ['data', 'axes?'], out: ['squeezed'] },
  StringConcat: { in: ['X', 'Y'], out: ['Z'] },
  StringNormalizer: { in: ['X'], out: ['Y'], attrs: { case_change_action: str('NONE'), is_case_sensitive: int(0), locale: str(), stopwords: strs() } },
  StringSplit: { in: ['X'], out: ['Y', 'Z'], attrs: { delimiter: str(), maxsplit: int() } },
  Sub: { in: ['A', 'B'], out: ['C'] },
  Sum: { in: ['...data_0'], out: ['sum'] },
  Swish: { in: ['X'], out: ['Y'], attrs: { alpha: float(1) } },
  Tan: { in: ['input'], out: ['output'] },
  Tanh: { in: ['input'], out: ['output'] },
  TensorScatter: { in: ['past_cache', 'update', 'write_indices?'], out: ['present_cache'], attrs: { axis: int(-2), mode: str('linear') } },
  TfIdfVectorizer: { in: ['X'], out: ['Y'], attrs: { max_gram_length: int(), max_skip_count: int(), min_gram_length: int(), mode: str(), ngram_counts: ints(), ngram_indexes: ints(), pool_int64s: ints(), pool_strings: strs(), weights: floats() } },
  ThresholdedRelu: { in: ['X'], out: ['Y'], attrs: { alpha: float(1) } },
  Tile: { in: ['input', 'repeats'], out: ['output'] },
  TopK: { in: ['X', 'K'], out: ['Values', 'Indices'], attrs: { axis: int(-1), largest: int(1), sorted: int(1) } },
  Transpose: { in: ['data'], out: ['transposed'], attrs: { perm: ints() } },
  Trilu: { in: ['input', 'k?'], out: ['output'], attrs: { upper: int(1) } },
  Unique: { in: ['X'], out: ['Y', 'indices?', 'inverse_indices?', 'counts?'], attrs: { axis: int(), sorted: int(1) } },
  Unsqueeze: { in: ['data', 'axes'], out: ['expanded'] },
  Upsample: { in: ['X', 'scales'], out: ['Y'], attrs: { mode: str('nearest') } },
  Where: { in: ['condition', 'X', 'Y'], out: ['output'] },
  Xor: { in: ['A', 'B'], out: ['C'] },
} as const satisfies Record<string, OpRow>;

/** The name of an operator of ai.onnx, a method of the builder. */
export type OpName = keyof typeof operators;
export const isOpName = (op: string): op is OpName => Object.hasOwn(operators, op);

const tables = { ...operators, ...contrib } as const;
/** An operator of either table: the name alone in the default domain, `domain.name` in others. */
export type OpKey = keyof typeof tables;
export const isOpKey = (key: string): key is OpKey => Object.hasOwn(tables, key);
/** The key of a node's operator in tables and registries of rules. */
export const opKey = ({ domain, op }: { readonly domain: string; readonly op: string }): string =>
  domain === '' ? op : `${domain}.${op}`;
const rowOf: ReadonlyMap<string, OpRow> = new Map(Object.entries(tables));
/** The row of an operator, undefined for unknown ones. */
export const operatorRow = (key: string): OpRow | undefined => rowOf.get(key);

type Row<O extends OpKey> = (typeof tables)[O];
type AttrRows<O extends OpKey> = Row<O> extends { readonly attrs: infer A } ? A : Record<never, never>;

type Named<T extends readonly string[], V> = T extends readonly []
  ? []
  : T extends readonly [infer H extends string, ...infer R extends readonly string[]]
    ? H extends `...${string}`
      ? V[]
      : [H extends `${string}?` ? V | undefined : V, ...Named<R, V>]
    : never;

/** Inputs of a node of this operator as a tuple: optional ones may be undefined, variadic ones are the rest. */
export type InputsOf<O extends OpKey> = Readonly<Named<Row<O>['in'], Value>>;
export type OutputsOf<O extends OpKey> = Readonly<Named<Row<O>['out'], Value>>;

/** Attributes of an operator with defaults applied. */
export type AttrsOf<O extends OpKey> = {
  readonly [N in keyof AttrRows<O>]: AttrRows<O>[N] extends AttrRow<infer K, infer D>
    ? D extends true
      ? AttrTypes[K]
      : AttrTypes[K] | undefined
    : never;
};

/** Attributes as passed to a builder: all optional. */
export type AttrsIn<O extends OpKey> = {
  readonly [N in keyof AttrRows<O>]?: AttrRows<O>[N] extends AttrRow<infer K> ? AttrTypes[K] | undefined : never;
};

const decoder = new TextDecoder();
const encoder = new TextEncoder();
const toNumber = (i: Int): number => Number(i);

function plain(attr: Attr): AttrTypes[keyof AttrTypes] | undefined {
  switch (attr.kind) {
    case 'int':
      return toNumber(attr.value);
    case 'ints':
      return attr.value.map(toNumber);
    case 'string':
      return decoder.decode(attr.value);
    case 'strings':
      return attr.value.map((s) => decoder.decode(s));
    case 'float':
    case 'floats':
    case 'tensor':
    case 'graph':
    case 'sparse':
    case 'type':
      return attr.value;
    default:
      return undefined;
  }
}

const kinds: { readonly [K in keyof AttrTypes]: Attr['kind'] } = {
  float: 'float',
  int: 'int',
  str: 'string',
  floats: 'floats',
  ints: 'ints',
  strs: 'strings',
  tensor: 'tensor',
  graph: 'graph',
  sparse: 'sparse',
  type: 'type',
};

/**
 * The attributes of a node as the table types them. int64 values beyond 2^53 are rounded, which keeps their meaning as
 * "to the end". An attribute whose kind differs from the table counts as absent.
 */
export function attrsOf<O extends OpKey>(node: Node, op: O): AttrsOf<O> {
  const rows = operatorRow(op)?.attrs;
  const entries: unknown[][] = [];
  for (const name in rows) {
    const attr = node.attrs.get(name);
    const r = rows[name];
    entries.push([
      name,
      attr !== undefined && r !== undefined && attr.kind === kinds[r.kind] ? plain(attr) : r?.default,
    ]);
  }
  // The table drives both the keys and the kinds, which the type states; Object.fromEntries cannot express it.
  return typed<AttrsOf<O>>(Object.fromEntries(entries));
}

function typed<T>(value: T): T {
  return value;
}

/** One attribute made from its plain value, with the kind in the table. */
export function attrFrom(r: AttrRow, value: AttrTypes[keyof AttrTypes]): Attr | undefined {
  if (r.kind === 'float' && typeof value === 'number') return { kind: 'float', value };
  if (r.kind === 'int' && typeof value === 'number') return { kind: 'int', value };
  if (r.kind === 'str' && typeof value === 'string') return { kind: 'string', value: encoder.encode(value) };
  if (Array.isArray(value)) {
    const list: readonly unknown[] = value;
    const numbers = list.filter((v) => typeof v === 'number');
    if (r.kind === 'floats') return { kind: 'floats', value: numbers };
    if (r.kind === 'ints') return { kind: 'ints', value: numbers };
    const texts = list.filter((v) => typeof v === 'string');
    if (r.kind === 'strs') return { kind: 'strings', value: texts.map((s) => encoder.encode(s)) };
  }
  if (typeof value !== 'object') return undefined;
  if (r.kind === 'tensor' && 'payload' in value) return { kind: 'tensor', value, name: '' };
  if (r.kind === 'graph' && 'nodes' in value) return { kind: 'graph', value };
  return undefined;
}

/** True if a node's attribute has its default value. */
export function isDefaultAttr(node: Node, name: string): boolean {
  const r = operatorRow(opKey(node))?.attrs?.[name];
  const attr = node.attrs.get(name);
  if (r === undefined || attr === undefined || r.default === undefined || attr.kind !== kinds[r.kind]) return false;
  const value = plain(attr);
  if (r.kind === 'float') return Math.fround(Number(value)) === Math.fround(Number(r.default));
  return value === r.default;
}
