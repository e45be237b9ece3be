import type { Manifest } from '../../src/formats/manifest.ts';

/** The manifest of y = x·W with x [N, 3] and y [N, 2], rank 2, mse: what tests that need no compiler use. */
export function tinyManifest(): Manifest {
  return {
    format: 'loraify/1',
    version: '0.1.0',
    source: { file: 'tiny.onnx', bytes: 100, sha256: '0'.repeat(64), opset: 18 },
    graphs: {
      train: 'train.onnx',
      train_k: 'train_k.onnx',
      eval: 'eval.onnx',
      grad: 'grad.onnx',
      update: 'update.onnx',
    },
    lora: { rank: 2, alpha: 4, scaling: 'standard', init: 'kaiming', seed: 0, dropout: 0 },
    layers: [
      {
        path: 'fc',
        node: '/fc/MatMul',
        op: 'MatMul',
        weight: 'fc.weight',
        nodes: ['/fc/MatMul'],
        layout: 'in_out',
        in: 3,
        out: 2,
        rank: 2,
        alpha: 4,
        scale: 2,
        A: { name: 'fc.lora_A', offset: 0, shape: [3, 2] },
        B: { name: 'fc.lora_B', offset: 6, shape: [2, 2] },
      },
    ],
    skipped: [],
    state: {
      size: 10,
      params: ['lora_params', 'lora_params_next'],
      m: ['lora_m', 'lora_m_next'],
      v: ['lora_v', 'lora_v_next'],
      step: ['lora_step', 'lora_step_next'],
      lr: 'lora_lr',
    },
    inputs: [{ name: 'x', type: 'float32', shape: ['N', 3] }],
    labels: { name: 'labels', type: 'float32', shape: ['N', 2] },
    loss: { kind: 'mse', output: 'y', tensor: 'y', chosen: 'auto', ignoreIndex: -100, labelSmoothing: 0 },
    names: { loss: 'loss', grad_norm: 'grad_norm', weight: 'weight', grad: 'lora_grad', apply: 'lora_apply' },
    optimizer: { kind: 'adamw', betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0, maxGradNorm: 1 },
    counts: { layers: 1, trainable: 10, total: 6 },
  };
}
