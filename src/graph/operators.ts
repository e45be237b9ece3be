/**
 * The operator table: one row per operator of ai.onnx in its newest form up to opset 26. Every typed surface (builder,
 * attributes, shape and gradient rules) derives from it and from the table of contributed operators beside it.
 *
 * Facts: https://github.com/onnx/onnx/blob/main/docs/Operators.md. Longer than 300 lines because it is one table.
 */

import {
  attrValue,
  isDefaultOf,
  type RowAttrs,
  type RowAttrsIn,
  type RowInputs,
  type RowOutputs,
  readAttrs,
} from './attributes.ts';
import { contrib } from './contrib.ts';
import { ml } from './ml.ts';
import type { Node } from './model.ts';
import {
  type AttrTypes,
  float,
  floats,
  graph,
  int,
  ints,
  type OpKind,
  type OpRow,
  sparse,
  str,
  strs,
  tensor,
  type,
} from './operatorRow.ts';

// biome-ignore format: one row per operator
export const operators = {
  Abs: { kind: 'elementwise', in: ['X'], out: ['Y'], inPlace: true, cudaHalf: 'both' },
  Acos: { kind: 'elementwise', in: ['input'], out: ['output'], shape: 'same', float64: false },
  Acosh: { kind: 'elementwise', in: ['input'], out: ['output'], shape: 'same', float64: false },
  Add: { kind: 'elementwise', in: ['A', 'B'], out: ['C'], commutative: true, broadcasts: true, cudaHalf: 'both' },
  AffineGrid: { kind: 'image', in: ['theta', 'size'], out: ['grid'], attrs: { align_corners: int(0) } },
  And: { kind: 'elementwise', in: ['A', 'B'], out: ['C'], commutative: true, broadcasts: true },
  ArgMax: { kind: 'search', in: ['data'], out: ['reduced'], attrs: { axis: int(0), keepdims: int(1), select_last_index: int(0) }, axis: 'one' },
  ArgMin: { kind: 'search', in: ['data'], out: ['reduced'], attrs: { axis: int(0), keepdims: int(1), select_last_index: int(0) }, axis: 'one' },
  Asin: { kind: 'elementwise', in: ['input'], out: ['output'], shape: 'same', float64: false },
  Asinh: { kind: 'elementwise', in: ['input'], out: ['output'], shape: 'same', float64: false },
  Atan: { kind: 'elementwise', in: ['input'], out: ['output'], shape: 'same', float64: false },
  Atanh: { kind: 'elementwise', in: ['input'], out: ['output'], shape: 'same', float64: false },
  Attention: { kind: 'attention', in: ['Q', 'K', 'V', 'attn_mask?', 'past_key?', 'past_value?', 'nonpad_kv_seqlen?'], out: ['Y', 'present_key?', 'present_value?', 'qk_matmul_output?'], attrs: { is_causal: int(0), kv_num_heads: int(), left_window_size: int(-1), q_num_heads: int(), qk_matmul_output_mode: int(0), right_window_size: int(-1), scale: float(), softcap: float(0), softmax_precision: int() }, sampled: true, float64: false },
  AveragePool: { kind: 'pool', in: ['X'], out: ['Y'], attrs: { auto_pad: str('NOTSET'), ceil_mode: int(0), count_include_pad: int(0), dilations: ints(), kernel_shape: ints(), pads: ints(), strides: ints() }, sampled: true, float64: false },
  BatchNormalization: { kind: 'normalization', in: ['X', 'scale', 'B', 'input_mean', 'input_var'], out: ['Y', 'running_mean?', 'running_var?'], attrs: { epsilon: float(1e-05), momentum: float(0.9), training_mode: int(0) } },
  Bernoulli: { kind: 'random', in: ['input'], out: ['output'], attrs: { dtype: int(), seed: float() } },
  BitCast: { kind: 'elementwise', in: ['input'], out: ['output'], attrs: { to: int() } },
  BitShift: { kind: 'elementwise', in: ['X', 'Y'], out: ['Z'], shape: 'broadcast', attrs: { direction: str() }, broadcasts: true },
  BitwiseAnd: { kind: 'elementwise', in: ['A', 'B'], out: ['C'], shape: 'broadcast', commutative: true, broadcasts: true },
  BitwiseNot: { kind: 'elementwise', in: ['X'], out: ['Y'], shape: 'same' },
  BitwiseOr: { kind: 'elementwise', in: ['A', 'B'], out: ['C'], shape: 'broadcast', commutative: true, broadcasts: true },
  BitwiseXor: { kind: 'elementwise', in: ['A', 'B'], out: ['C'], shape: 'broadcast', commutative: true, broadcasts: true },
  BlackmanWindow: { kind: 'generator', in: ['size'], out: ['output'], attrs: { output_datatype: int(1), periodic: int(1) } },
  Cast: { kind: 'elementwise', in: ['input'], out: ['output'], attrs: { round_mode: str('up'), saturate: int(1), to: int() }, inPlace: true },
  CastLike: { kind: 'elementwise', in: ['input', 'target_type'], out: ['output'], attrs: { round_mode: str('up'), saturate: int(1) } },
  Ceil: { kind: 'elementwise', in: ['X'], out: ['Y'], inPlace: true },
  Celu: { kind: 'elementwise', in: ['X'], out: ['Y'], shape: 'same', attrs: { alpha: float(1) }, inPlace: true },
  CenterCropPad: { kind: 'move', in: ['input_data', 'shape'], out: ['output_data'], attrs: { axes: ints() } },
  Clip: { kind: 'elementwise', in: ['input', 'min?', 'max?'], out: ['output'], shape: 'same', inPlace: true },
  Col2Im: { kind: 'image', in: ['input', 'image_shape', 'block_shape'], out: ['output'], attrs: { dilations: ints(), pads: ints(), strides: ints() }, float64: false },
  Compress: { kind: 'search', in: ['input', 'condition'], out: ['output'], attrs: { axis: int() } },
  Concat: { kind: 'move', in: ['...inputs'], out: ['concat_result'], attrs: { axis: int() }, axis: 'one', cudaHalf: 'both' },
  ConcatFromSequence: { kind: 'container', in: ['input_sequence'], out: ['concat_result'], attrs: { axis: int(), new_axis: int(0) } },
  Constant: { kind: 'generator', in: [], out: ['output'], attrs: { sparse_value: sparse(), value: tensor(), value_float: float(), value_floats: floats(), value_int: int(), value_ints: ints(), value_string: str(), value_strings: strs() } },
  ConstantOfShape: { kind: 'generator', in: ['input'], out: ['output'], attrs: { value: tensor() } },
  Conv: { kind: 'convolution', in: ['X', 'W', 'B?'], out: ['Y'], shape: 'conv', attrs: { auto_pad: str('NOTSET'), dilations: ints(), group: int(1), kernel_shape: ints(), pads: ints(), strides: ints() }, sampled: true, float64: false },
  ConvInteger: { kind: 'quantization', in: ['x', 'w', 'x_zero_point?', 'w_zero_point?'], out: ['y'], attrs: { auto_pad: str('NOTSET'), dilations: ints(), group: int(1), kernel_shape: ints(), pads: ints(), strides: ints() }, sampled: true },
  ConvTranspose: { kind: 'convolution', in: ['X', 'W', 'B?'], out: ['Y'], attrs: { auto_pad: str('NOTSET'), dilations: ints(), group: int(1), kernel_shape: ints(), output_padding: ints(), output_shape: ints(), pads: ints(), strides: ints() }, sampled: true, float64: false },
  Cos: { kind: 'elementwise', in: ['input'], out: ['output'], shape: 'same' },
  Cosh: { kind: 'elementwise', in: ['input'], out: ['output'], shape: 'same', float64: false },
  CumProd: { kind: 'cumulative', in: ['x', 'axis'], out: ['y'], shape: 'same', attrs: { exclusive: int(0), reverse: int(0) } },
  CumSum: { kind: 'cumulative', in: ['x', 'axis'], out: ['y'], shape: 'same', attrs: { exclusive: int(0), reverse: int(0) } },
  DFT: { kind: 'signal', in: ['input', 'dft_length?', 'axis?'], out: ['output'], attrs: { inverse: int(0), onesided: int(0) } },
  DeformConv: { kind: 'convolution', in: ['X', 'W', 'offset', 'B?', 'mask?'], out: ['Y'], shape: 'conv', attrs: { dilations: ints(), group: int(1), kernel_shape: ints(), offset_group: int(1), pads: ints(), strides: ints() }, sampled: true },
  DepthToSpace: { kind: 'move', in: ['input'], out: ['output'], attrs: { blocksize: int(), mode: str('DCR') }, sampled: true },
  DequantizeLinear: { kind: 'quantization', in: ['x', 'x_scale', 'x_zero_point?'], out: ['y'], attrs: { axis: int(1), block_size: int(0), output_dtype: int(0) } },
  Det: { kind: 'determinant', in: ['X'], out: ['Y'], float64: false },
  Div: { kind: 'elementwise', in: ['A', 'B'], out: ['C'], broadcasts: true, cudaHalf: 'both' },
  Dropout: { kind: 'random', in: ['data', 'ratio?', 'training_mode?'], out: ['output', 'mask?'], attrs: { seed: int() } },
  DynamicQuantizeLinear: { kind: 'quantization', in: ['x'], out: ['y', 'y_scale', 'y_zero_point'] },
  Einsum: { kind: 'einsum', in: ['...Inputs'], out: ['Output'], attrs: { equation: str() } },
  Elu: { kind: 'elementwise', in: ['X'], out: ['Y'], shape: 'same', attrs: { alpha: float(1) }, inPlace: true, float64: false },
  Equal: { kind: 'elementwise', in: ['A', 'B'], out: ['C'], commutative: true, broadcasts: true },
  Erf: { kind: 'elementwise', in: ['input'], out: ['output'], shape: 'same', float64: false, cudaHalf: 'both' },
  Exp: { kind: 'elementwise', in: ['input'], out: ['output'], shape: 'same', inPlace: true, cudaHalf: 'both' },
  Expand: { kind: 'move', in: ['input', 'shape'], out: ['output'], cudaHalf: 'both' },
  EyeLike: { kind: 'generator', in: ['input'], out: ['output'], attrs: { dtype: int(), k: int(0) } },
  Flatten: { kind: 'view', in: ['input'], out: ['output'], attrs: { axis: int(1) }, cudaHalf: 'both' },
  Floor: { kind: 'elementwise', in: ['X'], out: ['Y'], inPlace: true },
  GRU: { kind: 'recurrent', in: ['X', 'W', 'R', 'B?', 'sequence_lens?', 'initial_h?'], out: ['Y?', 'Y_h?'], attrs: { activation_alpha: floats(), activation_beta: floats(), activations: strs(), clip: float(), direction: str('forward'), hidden_size: int(), layout: int(0), linear_before_reset: int(0) }, float64: false },
  Gather: { kind: 'move', in: ['data', 'indices'], out: ['output'], attrs: { axis: int(0) }, axis: 'one', cudaHalf: 'both' },
  GatherElements: { kind: 'move', in: ['data', 'indices'], out: ['output'], attrs: { axis: int(0) }, axis: 'one' },
  GatherND: { kind: 'move', in: ['data', 'indices'], out: ['output'], attrs: { batch_dims: int(0) } },
  Gelu: { kind: 'elementwise', in: ['X'], out: ['Y'], shape: 'same', attrs: { approximate: str('none') }, float64: false },
  Gemm: { kind: 'matmul', in: ['A', 'B', 'C?'], out: ['Y'], attrs: { alpha: float(1), beta: float(1), transA: int(0), transB: int(0) }, cudaHalf: 'both' },
  GlobalAveragePool: { kind: 'pool', in: ['X'], out: ['Y'], float64: false },
  GlobalLpPool: { kind: 'pool', in: ['X'], out: ['Y'], attrs: { p: int(2) }, float64: false },
  GlobalMaxPool: { kind: 'pool', in: ['X'], out: ['Y'], float64: false },
  Greater: { kind: 'elementwise', in: ['A', 'B'], out: ['C'], broadcasts: true },
  GreaterOrEqual: { kind: 'elementwise', in: ['A', 'B'], out: ['C'], broadcasts: true },
  GridSample: { kind: 'image', in: ['X', 'grid'], out: ['Y'], attrs: { align_corners: int(0), mode: str('linear'), padding_mode: str('zeros') }, sampled: true },
  GroupNormalization: { kind: 'normalization', in: ['X', 'scale', 'bias'], out: ['Y'], shape: 'same', attrs: { epsilon: float(1e-05), num_groups: int(), stash_type: int(1) }, sampled: true },
  HammingWindow: { kind: 'generator', in: ['size'], out: ['output'], attrs: { output_datatype: int(1), periodic: int(1) } },
  HannWindow: { kind: 'generator', in: ['size'], out: ['output'], attrs: { output_datatype: int(1), periodic: int(1) } },
  HardSigmoid: { kind: 'elementwise', in: ['X'], out: ['Y'], shape: 'same', attrs: { alpha: float(0.2), beta: float(0.5) }, inPlace: true, float64: false },
  HardSwish: { kind: 'elementwise', in: ['X'], out: ['Y'], shape: 'same', float64: false },
  Hardmax: { kind: 'softmax', in: ['input'], out: ['output'], shape: 'same', attrs: { axis: int(-1) }, axis: 'one', float64: false },
  Identity: { kind: 'view', in: ['input'], out: ['output'], cudaHalf: 'both' },
  If: { kind: 'control', in: ['cond'], out: ['...outputs'], attrs: { else_branch: graph(), then_branch: graph() } },
  ImageDecoder: { kind: 'image', in: ['encoded_stream'], out: ['image'], attrs: { pixel_format: str('RGB') } },
  InstanceNormalization: { kind: 'normalization', in: ['input', 'scale', 'B'], out: ['output'], shape: 'same', attrs: { epsilon: float(1e-05) }, sampled: true, float64: false },
  IsInf: { kind: 'elementwise', in: ['X'], out: ['Y'], attrs: { detect_negative: int(1), detect_positive: int(1) } },
  IsNaN: { kind: 'elementwise', in: ['X'], out: ['Y'] },
  LRN: { kind: 'normalization', in: ['X'], out: ['Y'], shape: 'same', attrs: { alpha: float(0.0001), beta: float(0.75), bias: float(1), size: int() }, sampled: true, float64: false },
  LSTM: { kind: 'recurrent', in: ['X', 'W', 'R', 'B?', 'sequence_lens?', 'initial_h?', 'initial_c?', 'P?'], out: ['Y?', 'Y_h?', 'Y_c?'], attrs: { activation_alpha: floats(), activation_beta: floats(), activations: strs(), clip: float(), direction: str('forward'), hidden_size: int(), input_forget: int(0), layout: int(0) }, float64: false },
  LayerNormalization: { kind: 'normalization', in: ['X', 'Scale', 'B?'], out: ['Y', 'Mean?', 'InvStdDev?'], attrs: { axis: int(-1), epsilon: float(1e-05), stash_type: int(1) }, axis: 'onwards' },
  LeakyRelu: { kind: 'elementwise', in: ['X'], out: ['Y'], shape: 'same', attrs: { alpha: float(0.01) }, inPlace: true, float64: false },
  Less: { kind: 'elementwise', in: ['A', 'B'], out: ['C'], broadcasts: true },
  LessOrEqual: { kind: 'elementwise', in: ['A', 'B'], out: ['C'], broadcasts: true },
  Log: { kind: 'elementwise', in: ['input'], out: ['output'], shape: 'same', inPlace: true },
  LogSoftmax: { kind: 'softmax', in: ['input'], out: ['output'], shape: 'same', attrs: { axis: int(-1) }, axis: 'one' },
  Loop: { kind: 'control', in: ['M?', 'cond?', '...v_initial'], out: ['...v_final_and_scan_outputs'], attrs: { body: graph() } },
  LpNormalization: { kind: 'normalization', in: ['input'], out: ['output'], shape: 'same', attrs: { axis: int(-1), p: int(2) }, axis: 'one' },
  LpPool: { kind: 'pool', in: ['X'], out: ['Y'], attrs: { auto_pad: str('NOTSET'), ceil_mode: int(0), dilations: ints(), kernel_shape: ints(), p: int(2), pads: ints(), strides: ints() }, sampled: true, float64: false },
  MatMul: { kind: 'matmul', in: ['A', 'B'], out: ['Y'], shape: 'matmul', cudaHalf: 'both' },
  MatMulInteger: { kind: 'quantization', in: ['A', 'B', 'a_zero_point?', 'b_zero_point?'], out: ['Y'] },
  Max: { kind: 'elementwise', in: ['...data_0'], out: ['max'], commutative: true, broadcasts: true },
  MaxPool: { kind: 'pool', in: ['X'], out: ['Y', 'Indices?'], attrs: { auto_pad: str('NOTSET'), ceil_mode: int(0), dilations: ints(), kernel_shape: ints(), pads: ints(), storage_order: int(0), strides: ints() }, sampled: true },
  MaxRoiPool: { kind: 'pool', in: ['X', 'rois'], out: ['Y'], attrs: { pooled_shape: ints(), spatial_scale: float(1) }, float64: false },
  MaxUnpool: { kind: 'pool', in: ['X', 'I', 'output_shape?'], out: ['output'], attrs: { kernel_shape: ints(), pads: ints(), strides: ints() }, sampled: true, float64: false },
  Mean: { kind: 'elementwise', in: ['...data_0'], out: ['mean'], shape: 'broadcast', commutative: true, broadcasts: true, float64: false },
  MeanVarianceNormalization: { kind: 'normalization', in: ['X'], out: ['Y'], shape: 'same', attrs: { axes: ints([0, 2, 3]) }, float64: false, float16: false },
  MelWeightMatrix: { kind: 'generator', in: ['num_mel_bins', 'dft_length', 'sample_rate', 'lower_edge_hertz', 'upper_edge_hertz'], out: ['output'], attrs: { output_datatype: int(1) } },
  Min: { kind: 'elementwise', in: ['...data_0'], out: ['min'], commutative: true, broadcasts: true },
  Mish: { kind: 'elementwise', in: ['X'], out: ['Y'], shape: 'same', float64: false },
  Mod: { kind: 'elementwise', in: ['A', 'B'], out: ['C'], attrs: { fmod: int(0) }, broadcasts: true },
  Mul: { kind: 'elementwise', in: ['A', 'B'], out: ['C'], commutative: true, broadcasts: true, cudaHalf: 'both' },
  Multinomial: { kind: 'random', in: ['input'], out: ['output'], attrs: { dtype: int(6), sample_size: int(1), seed: float() }, float64: false },
  Neg: { kind: 'elementwise', in: ['X'], out: ['Y'], inPlace: true, cudaHalf: 'both' },
  NegativeLogLikelihoodLoss: { kind: 'loss', in: ['input', 'target', 'weight?'], out: ['loss'], attrs: { ignore_index: int(), reduction: str('mean') } },
  NonMaxSuppression: { kind: 'search', in: ['boxes', 'scores', 'max_output_boxes_per_class?', 'iou_threshold?', 'score_threshold?'], out: ['selected_indices'], attrs: { center_point_box: int(0) } },
  NonZero: { kind: 'search', in: ['X'], out: ['Y'], float64: false },
  Not: { kind: 'elementwise', in: ['X'], out: ['Y'], inPlace: true },
  OneHot: { kind: 'generator', in: ['indices', 'depth', 'values'], out: ['output'], attrs: { axis: int(-1) }, float64: false },
  Optional: { kind: 'container', in: ['input?'], out: ['output'], attrs: { type: type() } },
  OptionalGetElement: { kind: 'container', in: ['input'], out: ['output'] },
  OptionalHasElement: { kind: 'container', in: ['input?'], out: ['output'] },
  Or: { kind: 'elementwise', in: ['A', 'B'], out: ['C'], commutative: true, broadcasts: true },
  PRelu: { kind: 'elementwise', in: ['X', 'slope'], out: ['Y'], shape: 'same', float64: false },
  Pad: { kind: 'move', in: ['data', 'pads', 'constant_value?', 'axes?'], out: ['output'], attrs: { mode: str('constant') } },
  Pow: { kind: 'elementwise', in: ['X', 'Y'], out: ['Z'], broadcasts: true },
  QLinearConv: { kind: 'quantization', in: ['x', 'x_scale', 'x_zero_point', 'w', 'w_scale', 'w_zero_point', 'y_scale', 'y_zero_point', 'B?'], out: ['y'], attrs: { auto_pad: str('NOTSET'), dilations: ints(), group: int(1), kernel_shape: ints(), pads: ints(), strides: ints() }, sampled: true },
  QLinearMatMul: { kind: 'quantization', in: ['a', 'a_scale', 'a_zero_point', 'b', 'b_scale', 'b_zero_point', 'y_scale', 'y_zero_point'], out: ['y'] },
  QuantizeLinear: { kind: 'quantization', in: ['x', 'y_scale', 'y_zero_point?'], out: ['y'], attrs: { axis: int(1), block_size: int(0), output_dtype: int(0), precision: int(0), saturate: int(1) } },
  RMSNormalization: { kind: 'normalization', in: ['X', 'scale'], out: ['Y'], attrs: { axis: int(-1), epsilon: float(1e-05), stash_type: int(1) }, axis: 'onwards' },
  RNN: { kind: 'recurrent', in: ['X', 'W', 'R', 'B?', 'sequence_lens?', 'initial_h?'], out: ['Y?', 'Y_h?'], attrs: { activation_alpha: floats(), activation_beta: floats(), activations: strs(['Tanh', 'Tanh']), clip: float(), direction: str('forward'), hidden_size: int(), layout: int(0) }, float64: false },
  RandomNormal: { kind: 'random', in: [], out: ['output'], attrs: { dtype: int(1), mean: float(0), scale: float(1), seed: float(), shape: ints() } },
  RandomNormalLike: { kind: 'random', in: ['input'], out: ['output'], attrs: { dtype: int(), mean: float(0), scale: float(1), seed: float() } },
  RandomUniform: { kind: 'random', in: [], out: ['output'], attrs: { dtype: int(1), high: float(1), low: float(0), seed: float(), shape: ints() } },
  RandomUniformLike: { kind: 'random', in: ['input'], out: ['output'], attrs: { dtype: int(), high: float(1), low: float(0), seed: float() } },
  Range: { kind: 'generator', in: ['start', 'limit', 'delta'], out: ['output'] },
  Reciprocal: { kind: 'elementwise', in: ['X'], out: ['Y'], shape: 'same', inPlace: true },
  ReduceL1: { kind: 'reduction', in: ['data', 'axes?'], out: ['reduced'], attrs: { keepdims: int(1), noop_with_empty_axes: int(0) } },
  ReduceL2: { kind: 'reduction', in: ['data', 'axes?'], out: ['reduced'], attrs: { keepdims: int(1), noop_with_empty_axes: int(0) } },
  ReduceLogSum: { kind: 'reduction', in: ['data', 'axes?'], out: ['reduced'], attrs: { keepdims: int(1), noop_with_empty_axes: int(0) } },
  ReduceLogSumExp: { kind: 'reduction', in: ['data', 'axes?'], out: ['reduced'], attrs: { keepdims: int(1), noop_with_empty_axes: int(0) } },
  ReduceMax: { kind: 'reduction', in: ['data', 'axes?'], out: ['reduced'], attrs: { keepdims: int(1), noop_with_empty_axes: int(0) }, idempotent: true },
  ReduceMean: { kind: 'reduction', in: ['data', 'axes?'], out: ['reduced'], attrs: { keepdims: int(1), noop_with_empty_axes: int(0) } },
  ReduceMin: { kind: 'reduction', in: ['data', 'axes?'], out: ['reduced'], attrs: { keepdims: int(1), noop_with_empty_axes: int(0) }, idempotent: true },
  ReduceProd: { kind: 'reduction', in: ['data', 'axes?'], out: ['reduced'], attrs: { keepdims: int(1), noop_with_empty_axes: int(0) } },
  ReduceSum: { kind: 'reduction', in: ['data', 'axes?'], out: ['reduced'], attrs: { keepdims: int(1), noop_with_empty_axes: int(0) } },
  ReduceSumSquare: { kind: 'reduction', in: ['data', 'axes?'], out: ['reduced'], attrs: { keepdims: int(1), noop_with_empty_axes: int(0) } },
  RegexFullMatch: { kind: 'text', in: ['X'], out: ['Y'], attrs: { pattern: str() } },
  Relu: { kind: 'elementwise', in: ['X'], out: ['Y'], shape: 'same', inPlace: true, cudaHalf: 'both' },
  Reshape: { kind: 'view', in: ['data', 'shape'], out: ['reshaped'], attrs: { allowzero: int(0) }, cudaHalf: 'both' },
  Resize: { kind: 'image', in: ['X', 'roi?', 'scales?', 'sizes?'], out: ['Y'], attrs: { antialias: int(0), axes: ints(), coordinate_transformation_mode: str('half_pixel'), cubic_coeff_a: float(-0.75), exclude_outside: int(0), extrapolation_value: float(0), keep_aspect_ratio_policy: str('stretch'), mode: str('nearest'), nearest_mode: str('round_prefer_floor') }, sampled: true, float64: false },
  ReverseSequence: { kind: 'move', in: ['input', 'sequence_lens'], out: ['Y'], shape: 'same', attrs: { batch_axis: int(1), time_axis: int(0) } },
  RoiAlign: { kind: 'pool', in: ['X', 'rois', 'batch_indices'], out: ['Y'], attrs: { coordinate_transformation_mode: str('half_pixel'), mode: str('avg'), output_height: int(1), output_width: int(1), sampling_ratio: int(0), spatial_scale: float(1) } },
  RotaryEmbedding: { kind: 'attention', in: ['X', 'cos_cache', 'sin_cache', 'position_ids?'], out: ['Y'], shape: 'same', attrs: { interleaved: int(0), num_heads: int(), rotary_embedding_dim: int(0) } },
  Round: { kind: 'elementwise', in: ['X'], out: ['Y'] },
  STFT: { kind: 'signal', in: ['signal', 'frame_step', 'window?', 'frame_length?'], out: ['output'], attrs: { onesided: int(1) } },
  Scan: { kind: 'control', in: ['...initial_state_and_scan_inputs'], out: ['...final_state_and_scan_outputs'], attrs: { body: graph(), num_scan_inputs: int(), scan_input_axes: ints(), scan_input_directions: ints(), scan_output_axes: ints(), scan_output_directions: ints() } },
  Scatter: { kind: 'scatter', in: ['data', 'indices', 'updates'], out: ['output'], shape: 'same', attrs: { axis: int(0) }, axis: 'one' },
  ScatterElements: { kind: 'scatter', in: ['data', 'indices', 'updates'], out: ['output'], shape: 'same', attrs: { axis: int(0), reduction: str('none') }, axis: 'one', inPlace: true },
  ScatterND: { kind: 'scatter', in: ['data', 'indices', 'updates'], out: ['output'], attrs: { reduction: str('none') }, inPlace: true },
  Selu: { kind: 'elementwise', in: ['X'], out: ['Y'], shape: 'same', attrs: { alpha: float(1.67326319), gamma: float(1.05070102) }, inPlace: true, float64: false },
  SequenceAt: { kind: 'container', in: ['input_sequence', 'position'], out: ['tensor'] },
  SequenceConstruct: { kind: 'container', in: ['...inputs'], out: ['output_sequence'] },
  SequenceEmpty: { kind: 'container', in: [], out: ['output'], attrs: { dtype: int() } },
  SequenceErase: { kind: 'container', in: ['input_sequence', 'position?'], out: ['output_sequence'] },
  SequenceInsert: { kind: 'container', in: ['input_sequence', 'tensor', 'position?'], out: ['output_sequence'] },
  SequenceLength: { kind: 'container', in: ['input_sequence'], out: ['length'] },
  SequenceMap: { kind: 'control', in: ['input_sequence', '...additional_inputs'], out: ['...out_sequence'], attrs: { body: graph() } },
  Shape: { kind: 'shape', in: ['data'], out: ['shape'], attrs: { end: int(), start: int(0) } },
  Shrink: { kind: 'elementwise', in: ['input'], out: ['output'], shape: 'same', attrs: { bias: float(0), lambd: float(0.5) } },
  Sigmoid: { kind: 'elementwise', in: ['X'], out: ['Y'], shape: 'same', inPlace: true, cudaHalf: 'both' },
  Sign: { kind: 'elementwise', in: ['input'], out: ['output'] },
  Sin: { kind: 'elementwise', in: ['input'], out: ['output'], shape: 'same' },
  Sinh: { kind: 'elementwise', in: ['input'], out: ['output'], shape: 'same', float64: false },
  Size: { kind: 'shape', in: ['data'], out: ['size'] },
  Slice: { kind: 'move', in: ['data', 'starts', 'ends', 'axes?', 'steps?'], out: ['output'], cudaHalf: 'both' },
  Softmax: { kind: 'softmax', in: ['input'], out: ['output'], shape: 'same', attrs: { axis: int(-1) }, axis: 'one' },
  SoftmaxCrossEntropyLoss: { kind: 'loss', in: ['scores', 'labels', 'weights?'], out: ['output', 'log_prob?'], attrs: { ignore_index: int(), reduction: str('mean') } },
  Softplus: { kind: 'elementwise', in: ['X'], out: ['Y'], shape: 'same', inPlace: true, float64: false },
  Softsign: { kind: 'elementwise', in: ['input'], out: ['output'], shape: 'same', inPlace: true, float64: false },
  SpaceToDepth: { kind: 'move', in: ['input'], out: ['output'], attrs: { blocksize: int() }, sampled: true },
  Split: { kind: 'move', in: ['input', 'split?'], out: ['...outputs'], attrs: { axis: int(0), num_outputs: int() }, axis: 'one', cudaHalf: 'both' },
  SplitToSequence: { kind: 'container', in: ['input', 'split?'], out: ['output_sequence'], attrs: { axis: int(0), keepdims: int(1) } },
  Sqrt: { kind: 'elementwise', in: ['X'], out: ['Y'], shape: 'same', inPlace: true },
  Squeeze: { kind: 'view', in: ['data', 'axes?'], out: ['squeezed'], cudaHalf: 'both' },
  StringConcat: { kind: 'text', in: ['X', 'Y'], out: ['Z'] },
  StringNormalizer: { kind: 'text', in: ['X'], out: ['Y'], attrs: { case_change_action: str('NONE'), is_case_sensitive: int(0), locale: str(), stopwords: strs() } },
  StringSplit: { kind: 'text', in: ['X'], out: ['Y', 'Z'], attrs: { delimiter: str(), maxsplit: int() } },
  Sub: { kind: 'elementwise', in: ['A', 'B'], out: ['C'], broadcasts: true, cudaHalf: 'both' },
  Sum: { kind: 'elementwise', in: ['...data_0'], out: ['sum'], commutative: true, broadcasts: true },
  Swish: { kind: 'elementwise', in: ['X'], out: ['Y'], shape: 'same', attrs: { alpha: float(1) }, float64: false },
  Tan: { kind: 'elementwise', in: ['input'], out: ['output'], shape: 'same', float64: false },
  Tanh: { kind: 'elementwise', in: ['input'], out: ['output'], shape: 'same', inPlace: true, cudaHalf: 'both' },
  TensorScatter: { kind: 'scatter', in: ['past_cache', 'update', 'write_indices?'], out: ['present_cache'], shape: 'same', attrs: { axis: int(-2), mode: str('linear') }, axis: 'one' },
  TfIdfVectorizer: { kind: 'text', in: ['X'], out: ['Y'], attrs: { max_gram_length: int(), max_skip_count: int(), min_gram_length: int(), mode: str(), ngram_counts: ints(), ngram_indexes: ints(), pool_int64s: ints(), pool_strings: strs(), weights: floats() } },
  ThresholdedRelu: { kind: 'elementwise', in: ['X'], out: ['Y'], shape: 'same', attrs: { alpha: float(1) }, inPlace: true, float64: false },
  Tile: { kind: 'move', in: ['input', 'repeats'], out: ['output'], cudaHalf: 'both' },
  TopK: { kind: 'search', in: ['X', 'K'], out: ['Values', 'Indices'], attrs: { axis: int(-1), largest: int(1), sorted: int(1) }, axis: 'one' },
  Transpose: { kind: 'move', in: ['data'], out: ['transposed'], attrs: { perm: ints() }, cudaHalf: 'both' },
  Trilu: { kind: 'move', in: ['input', 'k?'], out: ['output'], shape: 'same', attrs: { upper: int(1) }, inPlace: true },
  Unique: { kind: 'search', in: ['X'], out: ['Y', 'indices?', 'inverse_indices?', 'counts?'], attrs: { axis: int(), sorted: int(1) } },
  Unsqueeze: { kind: 'view', in: ['data', 'axes'], out: ['expanded'], cudaHalf: 'both' },
  Upsample: { kind: 'image', in: ['X', 'scales'], out: ['Y'], attrs: { mode: str('nearest') } },
  Where: { kind: 'elementwise', in: ['condition', 'X', 'Y'], out: ['output'], broadcasts: true, cudaHalf: 'both' },
  Xor: { kind: 'elementwise', in: ['A', 'B'], out: ['C'], commutative: true, broadcasts: true },
} as const satisfies Record<string, OpRow>;

/** The name of an operator of ai.onnx, a method of the builder. */
export type OpName = keyof typeof operators;
export const isOpName = (op: string): op is OpName => Object.hasOwn(operators, op);

/** The rows of all tables: the name alone in the default domain, `domain.name` in others. */
export const operatorRows = { ...operators, ...contrib, ...ml } as const;
/** An operator of one of the tables. */
export type OpKey = keyof typeof operatorRows;
export const isOpKey = (key: string): key is OpKey => Object.hasOwn(operatorRows, key);
/** The key of a node's operator in tables and registries of rules. */
export const opKey = ({ domain, op }: { readonly domain: string; readonly op: string }): string =>
  domain === '' ? op : `${domain}.${op}`;
const rowOf: ReadonlyMap<string, OpRow> = new Map(Object.entries(operatorRows));
/** The row of an operator, undefined for unknown ones. */
export const operatorRow = (key: string): OpRow | undefined => rowOf.get(key);

/** The facts about a node's operator; undefined for one that no table has. */
export const factsOf = (node: Node): OpRow | undefined => rowOf.get(opKey(node));
export const kindOf = (node: Node): OpKind | undefined => factsOf(node)?.kind;
/** Whether the order of a node's inputs does not change its result. */
export const isCommutative = (node: Node): boolean => factsOf(node)?.commutative === true;
/** Whether two runs of a node may differ. Dropout without its training input is the identity. */
export const isRandom = (node: Node): boolean =>
  kindOf(node) === 'random' && (node.op !== 'Dropout' || node.inputs[2] !== undefined);

type Row<O extends OpKey> = (typeof operatorRows)[O];
export type InputsOf<O extends OpKey> = RowInputs<Row<O>>;
export type OutputsOf<O extends OpKey> = RowOutputs<Row<O>>;
/** Attributes of an operator with defaults applied. */
export type AttrsOf<O extends OpKey> = RowAttrs<Row<O>>;
/** Attributes as one writes them: all optional. */
export type AttrsIn<O extends OpKey> = RowAttrsIn<Row<O>>;

/** The attributes of a node as the table types them; one of another kind counts as absent. */
export const attrsOf = <O extends OpKey>(node: Node, op: O): AttrsOf<O> => readAttrs(node, operatorRows[op]);

/** One attribute of a node by the row of its operator, for passes that meet several operators. */
export function attrOf(node: Node, name: string): AttrTypes[keyof AttrTypes] | undefined {
  const r = factsOf(node)?.attrs?.[name];
  return r === undefined ? undefined : attrValue(node, name, r);
}
/** `attrOf` for a number. */
export function numberAttr(node: Node, name: string): number | undefined {
  const value = attrOf(node, name);
  return typeof value === 'number' ? value : undefined;
}

/** True where a node's attribute has the value that leaving it out would mean. */
export function isDefaultAttr(node: Node, name: string): boolean {
  const r = factsOf(node)?.attrs?.[name];
  return r !== undefined && isDefaultOf(node, name, r);
}
