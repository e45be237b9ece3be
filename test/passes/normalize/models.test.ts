import { readdirSync } from 'node:fs';
import { expect, it } from 'vitest';
import { cloneModel } from '../../../src/graph/clone.ts';
import type { Model } from '../../../src/graph/model.ts';
import { parseFile } from '../../../src/parser/index.ts';
import { verify } from '../../../src/passes/common/verify.ts';
import { normalize } from '../../../src/passes/normalize/index.ts';
import { compute, expectSame } from '../../support/compute.ts';
import { describeShared, sharedPath } from '../../support/sharedMaterial.ts';

// The parser refuses them.
const skipped = [
  'micro/corrupt.onnx',
  'micro/evil_external_location.onnx',
  'micro/no_opset_import.onnx',
  'micro/duplicate_opset_imports.onnx',
];

/** Lengths that make dummy inputs valid. */
const sizes: Readonly<Record<string, number>> = {
  batch: 2,
  batch_size: 2,
  sequence: 5,
  sequence_length: 5,
  past_sequence_length: 0,
  total_sequence_length: 5,
  N: 2,
  S: 5,
};

const files = (part: string): string[] =>
  readdirSync(sharedPath(part), { recursive: true, encoding: 'utf8' })
    .filter((f) => f.endsWith('.onnx') && !skipped.includes(f))
    .map((f) => `${part}/${f}`)
    .sort();

const opNames = (m: Model): Set<string> => new Set([...m.graph.allNodes()].map((n) => n.op));

describeShared('models of other writers, normalized', ['models', 'parity'], () => {
  for (const file of [...files('models'), ...files('parity')])
    it(`${file} computes the same`, async () => {
      const path = sharedPath(file);
      const { model: source, source: opened } = parseFile(path);
      verify(source);
      const { model } = cloneModel(source);
      normalize(model);
      verify(model);
      verify(source);
      expect(model.opsets.get('')).toBe(Math.max(18, source.opsets.get('') ?? 0));
      expect(opNames(model)).not.toContain('Constant');
      expect(model.functions).toEqual([]);
      const before = await compute(path, { sizes });
      const after = await compute(model, { sizes });
      opened.close();
      expectSame(after, before, 1e-6);
    });
});
