import { expect, it } from 'vitest';
import { coded } from '../support/coded.ts';
import { gradientNodes } from '../support/gradients/harness.ts';
import { gradientTable } from '../support/gradients/table.ts';
import * as table from './experts.rows.ts';

gradientTable('mixtures of experts', table);

const first = (op: 'MoE' | 'QMoE') => {
  const row = table.rows.find((r) => r.op === `com.microsoft.${op}`);
  if (row === undefined) throw new Error(`no row of ${op}`);
  return row;
};

it.each([
  ['MoE', { use_sparse_mixer: 1 }, 'use_sparse_mixer'],
  ['MoE', { activation_type: 'geglu' }, 'geglu'],
  ['MoE', { activation_type: 'swiglu', swiglu_fusion: 0 }, 'not fused'],
  ['MoE', { activation_type: 'swiglu', swiglu_limit_after_activation: 1 }, 'swiglu_limit_after_activation'],
  ['QMoE', { normalize_routing_weights: 0 }, 'normalize_routing_weights'],
  ['QMoE', { quant_type: 'fp4' }, 'fp4'],
  ['QMoE', { weights_prepacked: 1 }, 'layout'],
  ['QMoE', { expert_weight_bits: 2 }, '2 bits'],
] as const)('%s with %j is refused', (op, attrs, reason) => {
  const row = first(op);
  expect(() => gradientNodes({ ...row, attrs: { ...row.attrs, ...attrs } })).toThrow(
    expect.toSatisfy(coded('NO_GRADIENT', op, reason)),
  );
});
