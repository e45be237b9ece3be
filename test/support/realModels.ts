/** The models that compiles are proven on, with inputs that make sense to each. All numbers are seeded. */
import { Tensor } from 'onnxruntime-node';
import type { CompileOptions } from '../../src/compile/options.ts';
import { stream } from '../../src/graph/random.ts';

export type Feeds = Readonly<Record<string, Tensor>>;

export interface Subject {
  readonly name: string;
  /** Below ../shared. */
  readonly file: string;
  readonly options?: CompileOptions;
  readonly feeds: Feeds;
  /** A value to look at beside the outputs: what goes into an ArgMax. */
  readonly observed?: string;
  /** Deviation of the elements of B: 0.02, or more where the weights are so large that it would not be seen. */
  readonly deviation?: number;
}

/** A subject that can be trained, with labels drawn at random. */
export interface Trainable extends Subject {
  readonly labels: Tensor;
  /** How far finite differences step: rounding wants it large, a kink of Relu nearby wants it small. */
  readonly reach?: number;
}

const random = (key: string): ReturnType<typeof stream> => stream(3, key);
const size = (dims: readonly number[]): number => dims.reduce((n, d) => n * d, 1);

/** Integers in [0, below). */
function integers(dims: readonly number[], below: number, key = 'integers'): Tensor {
  const { integer } = random(key);
  return new Tensor(
    'int64',
    BigInt64Array.from({ length: size(dims) }, () => BigInt(integer(below))),
    dims,
  );
}

function floats(dims: readonly number[], draw: () => number): Tensor {
  return new Tensor('float32', Float32Array.from({ length: size(dims) }, draw), dims);
}

const normal = (dims: readonly number[], key = 'normal'): Tensor => floats(dims, random(key).normal);
const uniform = (dims: readonly number[]): Tensor => floats(dims, random('uniform').uniform);
const filled = (dims: readonly number[], value: number): Tensor =>
  new Tensor('int64', new BigInt64Array(size(dims)).fill(BigInt(value)), dims);
const positions = (rows: number, length: number): Tensor =>
  new Tensor(
    'int64',
    BigInt64Array.from({ length: rows * length }, (_, i) => BigInt(i % length)),
    [rows, length],
  );

/** Token ids, all of them looked at. */
const tokens = (dims: readonly number[], vocabulary: number): { input_ids: Tensor; attention_mask: Tensor } => ({
  input_ids: integers(dims, vocabulary, 'tokens'),
  attention_mask: filled(dims, 1),
});

const cache = [2, 16, 32];
/** Short files as Magika reads them: 512 bytes from the start, the middle and the end, 256 where there are none. */
function magika(files: readonly string[]): Tensor {
  const rows = files.map((file) => {
    const padding = new Array<number>(512 - file.length).fill(256);
    const content = [...file].map((c) => c.charCodeAt(0));
    return [...content, ...padding, ...content, ...padding, ...padding, ...content];
  });
  return new Tensor('float32', Float32Array.from(rows.flat()), [files.length, 1536]);
}
/** Too short to be sure of: a Softmax that is sure would hide a change. */
const files = ['<a>b</a>', 'name,age\nAda,36\n', 'x = y + z\n', 'int main() { return 0; }'];

export const trainable: readonly Trainable[] = [
  {
    name: 'mlp_classifier',
    file: 'parity/mlp_classifier/base.onnx',
    feeds: { x: normal([8, 20]) },
    reach: 0.01,
    labels: integers([8], 5),
  },
  {
    name: 'bert_cls',
    file: 'parity/bert_cls/base.onnx',
    feeds: { ...tokens([4, 10], 120), token_type_ids: filled([4, 10], 0) },
    labels: integers([4], 3),
  },
  {
    name: 'gpt2_lm',
    file: 'parity/gpt2_lm/base.onnx',
    feeds: tokens([2, 10], 160),
    labels: integers([2, 10], 160),
  },
  {
    name: 'llama_lm',
    file: 'parity/llama_lm/base.onnx',
    feeds: tokens([2, 10], 200),
    labels: integers([2, 10], 200),
  },
  {
    name: 'enc_bert_toy',
    file: 'models/enc_bert_toy_pytorch11_ir4.onnx',
    feeds: { input_ids: integers([2, 12], 99), token_type_ids: filled([2, 12], 0), input_mask: filled([2, 12], 1) },
    labels: integers([2, 12], 99),
  },
  {
    name: 'aud_fsmn_vad',
    file: 'models/aud_fsmn_vad_offline.onnx',
    feeds: { speech: normal([1, 30, 400]) },
    reach: 0.001,
    labels: integers([1, 30], 248),
  },
  {
    name: 'txt_magika',
    file: 'models/txt_magika_v1.onnx',
    feeds: { bytes: magika(files) },
    // Weights deviate by 4 to 8.
    deviation: 0.05,
    reach: 0.1,
    labels: integers([4], 113),
  },
  {
    name: 'mlp_hand_keypoint',
    file: 'models/mlp_hand_keypoint.onnx',
    feeds: { input: normal([16, 42]) },
    observed: 'Add__18:0',
    reach: 0.01,
    labels: integers([16], 3),
  },
  {
    name: 'cnn_mnist',
    file: 'models/cnn_mnist_cntk_ir3.onnx',
    feeds: { Input3: uniform([1, 1, 28, 28]) },
    labels: integers([1], 10),
  },
  {
    name: 'dec_static_kv',
    file: 'models/dec_static_kv_opset24_std_attention.onnx',
    feeds: {
      input_ids: integers([2, 8], 256),
      position_ids: positions(2, 8),
      'key_cache.0': normal(cache, 'k0'),
      'value_cache.0': normal(cache, 'v0'),
      'key_cache.1': normal(cache, 'k1'),
      'value_cache.1': normal(cache, 'v1'),
      write_indices: filled([2], 0),
      nonpad_kv_seqlen: filled([2], 8),
    },
    labels: integers([2, 8], 256),
  },
  {
    name: 'dec_tiny_llama_fp16',
    file: 'models/dec_tiny_llama_fp16_extdata/model.onnx',
    feeds: {
      ...tokens([1, 6], 32000),
      position_ids: positions(1, 6),
      ...Object.fromEntries(
        [0, 1].flatMap((i) =>
          ['key', 'value'].map((part) => [
            `past_key_values.${i}.${part}`,
            new Tensor('float16', new Uint16Array(0), [1, 1, 0, 16]),
          ]),
        ),
      ),
    },
    // Weights deviate by 0.02, after which a norm makes of every change what it likes.
    deviation: 0.1,
    labels: integers([1, 6], 32000),
  },
  {
    // Four LSTM cells written as Scans, one above the other.
    name: 'scan_lstm_cntk',
    file: 'models/micro/scan_lstm_cntk.onnx',
    options: { lossOutput: 'ElementTimes16679_Output_0' },
    feeds: { Input13165: normal([7, 1, 3]) },
    // Within what a product of a sigmoid and a tanh can be.
    labels: floats([7, 1, 2], () => 0.5),
  },
];

/** A further float32 model with a layer: it has its adapter built in. */
export const adaptedOnly: readonly Subject[] = [
  {
    name: 'lora_two_params',
    file: 'models/micro/lora_two_params_model.onnx',
    feeds: { input_x: normal([4, 4]) },
    // The weight is 1 to 16.
    deviation: 0.1,
  },
];
