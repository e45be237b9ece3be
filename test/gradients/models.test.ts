/**
 * The gradient of whole models: the loss moved along the gradient itself and along a random direction changes as the gradient says.
 * float32 all through: a loss near 5 is rounded by about 5e-7, which a step of 0.005 makes 1e-4 of a slope of 1; kinks of Relu and
 * MaxPool that lie within the step cost more.
 */
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { expect, it } from 'vitest';
import { compileModel } from '../../src/compile/compileModel.ts';
import { resolveOptions } from '../../src/compile/options.ts';
import { encodeModel } from '../../src/emit/index.ts';
import { sizeOf } from '../../src/graph/layers.ts';
import { parseFile } from '../../src/parser/index.ts';
import { normal, random } from '../support/gradients/harness.ts';
import { describeShared, sharedPath } from '../support/sharedMaterial.ts';

interface Subject {
  readonly file: string;
  /** Symbols of the inputs, and integers below which inputs of this name lie. */
  readonly lengths?: Readonly<Record<string, number>>;
  readonly below?: Readonly<Record<string, number>>;
  readonly exactly?: Readonly<Record<string, readonly number[]>>;
  /** Smaller where kinks lie densely. */
  readonly step?: number;
  /** Layers behind which the loss does not lie. */
  readonly idle?: readonly string[];
}

const subjects: readonly Subject[] = [
  { file: 'parity/mlp_classifier/base.onnx' },
  { file: 'parity/bert_cls/base.onnx', below: { attention_mask: 1 } },
  { file: 'parity/gpt2_lm/base.onnx', below: { attention_mask: 1, input_ids: 50 } },
  { file: 'parity/llama_lm/base.onnx', below: { attention_mask: 1, input_ids: 50 } },
  { file: 'models/mlp_hand_keypoint.onnx' },
  { file: 'models/cnn_mnist_cntk_ir3.onnx' },
  { file: 'models/txt_magika_v1.onnx', below: { bytes: 256 } },
  { file: 'models/aud_fsmn_vad_offline.onnx', lengths: { feats_length: 30 }, step: 0.0002 },
  { file: 'models/enc_bert_toy_pytorch11_ir4.onnx', idle: ['bert.pooler.dense', 'cls.seq_relationship'] },
  {
    file: 'models/dec_static_kv_opset24_std_attention.onnx',
    exactly: { write_indices: [0, 0], nonpad_kv_seqlen: [5, 5], position_ids: [0, 1, 2, 3, 4, 0, 1, 2, 3, 4] },
  },
];

const sizes: Readonly<Record<string, number>> = { batch: 2, seq: 5, sequence_len: 5, max_seq_len_in_batch: 5 };

function tensor(type: string, dims: readonly number[], values: readonly number[]): Tensor {
  if (type === 'int64')
    return new Tensor(
      type,
      BigInt64Array.from(values, (v) => BigInt(Math.floor(v))),
      dims,
    );
  if (type === 'int32') return new Tensor(type, Int32Array.from(values, Math.floor), dims);
  if (type === 'bool')
    return new Tensor(
      type,
      Uint8Array.from(values, () => 1),
      dims,
    );
  return new Tensor('float32', Float32Array.from(values), dims);
}

for (const subject of subjects)
  describeShared(`gradient of ${subject.file}`, subject.file, () => {
    it('is the slope of the loss', async () => {
      const { model } = parseFile(sharedPath(subject.file));
      const compiled = compileModel(model, resolveOptions({ rank: 4, emit: ['grad'] }));
      const graph = compiled.graphs.get('grad');
      if (graph === undefined) throw new Error('no gradient graph');
      const session = await InferenceSession.create(encodeModel(graph), { intraOpNumThreads: 1, logSeverityLevel: 4 });
      const next = random(3);
      const feeds: Record<string, Tensor> = {};
      for (const v of graph.graph.inputs) {
        if (v.tensor !== undefined || v.name === 'lora_params') continue;
        const dims = (v.shape ?? []).map((d) =>
          typeof d === 'number' ? d : (subject.lengths?.[d ?? ''] ?? sizes[d ?? ''] ?? 2),
        );
        const count = dims.reduce((a, b) => a * b, 1);
        const given = subject.exactly?.[v.name];
        const limit = subject.below?.[v.name];
        const integers = v.dtype !== 'float32';
        const values = Array.from({ length: count }, (_, i) =>
          given !== undefined
            ? (given[i] ?? 0)
            : limit === 1
              ? 1
              : integers || limit !== undefined
                ? Math.floor(next() * (limit ?? 2))
                : normal(next, 0, 1),
        );
        feeds[v.name] = tensor(v.dtype ?? 'float32', dims, values);
      }
      // Both factors away from zero, so that each has a gradient.
      const p = Float32Array.from({ length: compiled.layout.size }, () => 0.05 * normal(next, 0, 1));
      const run = async (params: Float32Array): Promise<{ loss: number; grad: Float32Array }> => {
        const y = await session.run({ ...feeds, lora_params: new Tensor('float32', params, [params.length]) });
        const [loss, grad] = [y.loss?.data, y.lora_grad?.data];
        if (!(loss instanceof Float32Array) || !(grad instanceof Float32Array)) throw new Error('no loss or gradient');
        return { loss: loss[0] ?? Number.NaN, grad };
      };
      const { grad } = await run(p);
      const norm = Math.hypot(...grad);
      expect(norm).toBeGreaterThan(0);
      const drawn = Float32Array.from(p, () => normal(next, 0, 1));
      const length = Math.hypot(...drawn);
      const directions = [grad.map((x) => x / norm), drawn.map((x, i) => x / length + (grad[i] ?? 0) / norm)];
      for (const direction of directions) {
        const { step = 0.005 } = subject;
        const slopeAt = async (h: number): Promise<number> => {
          const plus = await run(p.map((x, i) => x + h * (direction[i] ?? 0)));
          const minus = await run(p.map((x, i) => x - h * (direction[i] ?? 0)));
          return (plus.loss - minus.loss) / (2 * h);
        };
        // Richardson: the curvature's share of two steps cancels.
        const numeric = (4 * (await slopeAt(step)) - (await slopeAt(2 * step))) / 3;
        const slope = direction.reduce((sum, d, i) => sum + d * (grad[i] ?? 0), 0);
        expect(Math.abs(numeric - slope) / Math.abs(slope)).toBeLessThan(0.005);
      }
      // Every layer takes part.
      const idle = compiled.layout.slots.filter(({ A, B }) =>
        [A, B].some((slot) => !grad.subarray(slot.offset, slot.offset + sizeOf(slot.shape)).some((x) => x !== 0)),
      );

      expect(idle.map((s) => s.layer.path)).toEqual(subject.idle ?? []);
      await session.release();
    });
  });
