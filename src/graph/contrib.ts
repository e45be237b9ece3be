/**
 * The table of the contributed operators that ONNX Runtime's optimizers and model builders write: a part of the
 * operator table (operators.ts), keyed by domain and name. Defaults are those of the kernels where the documentation is
 * silent: a scale of 0 means one over the root of the head's size.
 *
 * Facts: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md.
 */
import { float, floats, int, ints, type OpRow, str } from './operatorRow.ts';

// biome-ignore format: one row per operator
export const contrib = {
  'com.microsoft.Attention': { kind: 'attention', in: ['input', 'weights', 'bias?', 'mask_index?', 'past?', 'attention_bias?', 'past_sequence_length?'], out: ['output', 'present?'], attrs: { do_rotary: int(0), mask_filter_value: float(-10000), num_heads: int(), past_present_share_buffer: int(0), qkv_hidden_sizes: ints(), rotary_embedding_dim: int(0), scale: float(0), unidirectional: int(0) }, sampled: true },
  'com.microsoft.BiasGelu': { kind: 'elementwise', in: ['A', 'B'], out: ['C'], shape: 'same' },
  'com.microsoft.BiasSoftmax': { kind: 'softmax', in: ['data', 'bias'], out: ['output'], shape: 'same', attrs: { axis: int(1), is_inner_broadcast: int() } },
  'com.microsoft.DynamicQuantizeMatMul': { kind: 'quantization', in: ['A', 'B', 'b_scale', 'b_zero_point?', 'bias?'], out: ['Y'] },
  'com.microsoft.EmbedLayerNormalization': { kind: 'normalization', in: ['input_ids', 'segment_ids?', 'word_embedding', 'position_embedding', 'segment_embedding?', 'gamma', 'beta', 'mask?', 'position_ids?'], out: ['output', 'mask_index?', 'embedding_sum?'], attrs: { epsilon: float(1e-12), mask_index_type: int(0) } },
  'com.microsoft.FastGelu': { kind: 'elementwise', in: ['X', 'bias?'], out: ['Y'], shape: 'same', cudaHalf: 'both' },
  'com.microsoft.FusedConv': { kind: 'convolution', in: ['X', 'W', 'B?', 'Z?'], out: ['Y'], shape: 'conv', attrs: { activation: str(), activation_params: floats(), auto_pad: str('NOTSET'), dilations: ints(), group: int(1), kernel_shape: ints(), pads: ints(), strides: ints() }, sampled: true },
  'com.microsoft.FusedGemm': { kind: 'matmul', in: ['A', 'B', 'C?'], out: ['Y'], attrs: { activation: str(), activation_alpha: float(), activation_beta: float(), activation_gamma: float(), alpha: float(1), beta: float(1), transA: int(0), transB: int(0) } },
  'com.microsoft.FusedMatMul': { kind: 'matmul', in: ['A', 'B'], out: ['Y'], attrs: { alpha: float(1), transA: int(0), transB: int(0), transBatchA: int(0), transBatchB: int(0) }, cudaHalf: 'both' },
  'com.microsoft.Gelu': { kind: 'elementwise', in: ['X'], out: ['Y'], shape: 'same', cudaHalf: 'float16' },
  'com.microsoft.GroupQueryAttention': { kind: 'attention', in: ['query', 'key?', 'value?', 'past_key?', 'past_value?', 'seqlens_k', 'total_sequence_length', 'cos_cache?', 'sin_cache?', 'position_ids?', 'attention_bias?', 'head_sink?', 'k_scale?', 'v_scale?', 'q_norm_weight?', 'k_norm_weight?', 'query_seqlens?'], out: ['output', 'present_key?', 'present_value?', 'output_qk?'], attrs: { causal: int(1), do_rotary: int(0), k_norm_epsilon: float(), k_quant_type: str('NONE'), kv_cache_bit_width: int(), kv_num_heads: int(), local_window_size: int(-1), num_heads: int(), q_norm_epsilon: float(), qk_norm_epsilon: float(1e-6), qk_output: int(0), rotary_interleaved: int(0), scale: float(0), sliding_window_cache: int(0), smooth_softmax: int(-1), softcap: float(0), v_quant_type: str('NONE') }, sampled: true },
  'com.microsoft.MatMulBnb4': { kind: 'quantization', in: ['A', 'B', 'absmax'], out: ['Y'], attrs: { K: int(), N: int(), block_size: int(), quant_type: int(), training_mode: int(0), transB: int(1) } },
  'com.microsoft.MatMulIntegerToFloat': { kind: 'quantization', in: ['A', 'B', 'a_scale', 'b_scale', 'a_zero_point?', 'b_zero_point?', 'bias?'], out: ['Y'] },
  'com.microsoft.MatMulNBits': { kind: 'quantization', in: ['A', 'B', 'scales', 'zero_points?', 'g_idx?', 'bias?'], out: ['Y'], attrs: { K: int(), N: int(), accuracy_level: int(0), bits: int(4), block_size: int(), weight_prepacked: int(0) } },
  'com.microsoft.MultiHeadAttention': { kind: 'attention', in: ['query', 'key?', 'value?', 'bias?', 'key_padding_mask?', 'attention_bias?', 'past_key?', 'past_value?', 'past_sequence_length?', 'cache_indirection?'], out: ['output', 'present_key?', 'present_value?', 'qk?'], attrs: { mask_filter_value: float(-10000), num_heads: int(), scale: float(0), unidirectional: int(0) }, sampled: true },
  'com.microsoft.QuickGelu': { kind: 'elementwise', in: ['X'], out: ['Y'], shape: 'same', attrs: { alpha: float(1.702) }, cudaHalf: 'float16' },
  'com.microsoft.RotaryEmbedding': { kind: 'attention', in: ['input', 'position_ids', 'cos_cache', 'sin_cache'], out: ['output'], shape: 'same', attrs: { interleaved: int(0), is_packed_batching: int(0), num_heads: int(0), rotary_embedding_dim: int(0), scale: float(1) } },
  'com.microsoft.SkipLayerNormalization': { kind: 'normalization', in: ['input', 'skip', 'gamma', 'beta?', 'bias?'], out: ['output', 'mean?', 'inv_std_var?', 'input_skip_bias_sum?'], attrs: { epsilon: float(1e-12) } },
  'com.microsoft.SkipSimplifiedLayerNormalization': { kind: 'normalization', in: ['input', 'skip', 'gamma', 'bias?'], out: ['output', 'mean?', 'inv_std_var?', 'input_skip_bias_sum?'], attrs: { epsilon: float(1e-12) } },
  // An operator of the default domain that no version of the standard has.
  SimplifiedLayerNormalization: { kind: 'normalization', in: ['X', 'scale'], out: ['Y', 'inv_std_var?'], attrs: { axis: int(-1), epsilon: float(1e-5), stash_type: int(1) }, axis: 'onwards' },
} as const satisfies Record<string, OpRow>;
