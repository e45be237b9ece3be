/** Dropout in graphs of every form that a branch can have: executed, differentiated numerically, and absent where it must be. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { compileModel } from '../../../src/compile/compileModel.ts';
import { type CompileOptions, emittable, resolveOptions } from '../../../src/compile/options.ts';
import { printModel } from '../../../src/emit/index.ts';
import { parseText } from '../../../src/parser/index.ts';
import { checkGradient } from '../../support/executeGraphs.ts';

const fixtures = join(import.meta.dirname, '../../../fixtures/train');

function load(name: string): { text: string; options: CompileOptions } {
  const read = (file: string): string => readFileSync(join(fixtures, name, file), 'utf8');
  const { stages: _, ...options } = JSON.parse(read('options.json'));
  return { text: read('input.onnx.txt'), options };
}

const texts = (text: string, options: CompileOptions): Map<string, string> =>
  new Map(
    [...compileModel(parseText(text), resolveOptions({ ...options, emit: ['all'] })).graphs].map(([name, model]) => [
      name,
      printModel(model, { comments: true, full: true }),
    ]),
  );

describe.each([
  'mse',
  'gemm-flags',
  'left-factor',
  'shared-weight-transposed',
  'unknown-dims',
  'fused-decoder',
  'conv-1d',
  'conv-3x3',
  'matmulnbits-4bit',
  'qdq-weights',
  'gather',
  'if-body',
  'scan-body',
  'loop-body',
  'function-nested',
  'external',
  'float16',
  'float64',
  'bfloat16',
])('%s', (name) => {
  const { text, options } = load(name);

  it('is the gradient of its own loss, and train and train_k take its steps', () =>
    checkGradient(text, { ...options, dropout: 0.4 }));

  // One of each way to be written out.
  const forms = ['mse', 'conv-3x3', 'matmulnbits-4bit', 'gather', 'scan-body', 'float16'];
  if (!forms.includes(name)) return;
  it('stands in train, train_k and grad alone; without it no byte differs', () => {
    const plain = texts(text, options);
    const dropped = texts(text, { ...options, dropout: 0.4 });
    expect(texts(text, { ...options, dropout: 0 })).toEqual(plain);
    const differ = emittable.filter((g) => dropped.get(g) !== plain.get(g));
    expect(differ).toEqual(['train', 'train_k', 'grad']);
  });
});

it.each(['fp16', 'bf16'] as const)('stands beside weights stored in half precision: %s', (precision) => {
  const { text, options } = load('dropout');
  return checkGradient(text, { ...options, precision, dropout: 0.4 });
});
