/** Every intermediate value of models that others wrote, as ONNX Runtime computes it. */
import { existsSync, readdirSync } from 'node:fs';
import { InferenceSession } from 'onnxruntime-node';
import { expect, it } from 'vitest';
import { encodeModel } from '../../../src/emit/index.ts';
import { cloneModel } from '../../../src/graph/clone.ts';
import type { Value } from '../../../src/graph/model.ts';
import { parseFile } from '../../../src/parser/index.ts';
import { normalize } from '../../../src/passes/normalize/index.ts';
import { feedsFor } from '../../support/sessionFeeds.ts';
import { actual, agree, inferWith, symbolsOf } from '../../support/shapes/oracle.ts';
import { describeShared, sharedPath } from '../../support/sharedMaterial.ts';

// ONNX Runtime or the parser refuses them.
const skipped = ['corrupt', 'evil_external_location', 'no_opset_import', 'duplicate_opset_imports'];

/** Lengths that make dummy inputs valid. */
const sizes: Readonly<Record<string, number>> = {
  ...{ batch: 2, batch_size: 2, N: 2, sequence: 5, sequence_length: 5, S: 5 },
  ...{ past_sequence_length: 0, total_sequence_length: 5 },
};

/**
 * Values with an unknown length. Here a mask is spread to a length of which nobody says that it is another one's sum with the
 * past: S and P+S differ unless P is 0.
 */
const open: Readonly<Record<string, readonly string[]>> = {
  'models/dec_tiny_llama_fp16_extdata/model.onnx': [
    '/model/attn_mask_reformat/input_ids_subgraph/Expand/output_0',
    '/model/attn_mask_reformat/Add/output_0',
    '/model/attn_mask_reformat/Tile/output_0',
  ],
};

const unknown = (results: ReadonlyMap<Value, unknown>): string[] =>
  [...results.keys()].filter((v) => v.shape?.includes(null) ?? true).map((v) => v.name);

const present = ['models', 'parity'].filter((part) => existsSync(sharedPath(part)));
const files = present.flatMap((part) =>
  readdirSync(sharedPath(part), { recursive: true, encoding: 'utf8' })
    .filter((f) => f.endsWith('.onnx') && !skipped.some((s) => f.includes(s)))
    .map((f) => `${part}/${f}`)
    .sort(),
);

describeShared('shapes in models of other writers', ['models', 'parity'], () => {
  for (const file of files)
    it(file, async () => {
      const { model: source, source: opened } = parseFile(sharedPath(file));
      const { model } = cloneModel(source);
      normalize(model);
      const session = await InferenceSession.create(encodeModel(model), { logSeverityLevel: 3 });
      const feeds = feedsFor(session, sizes);
      await session.release();
      const results = await actual(model, feeds);
      const declared = new Map<Value, Value['shape']>(model.graph.inputs.map((v) => [v, v.shape]));
      inferWith(model.graph, (_, dims) => dims, feeds);
      const fixed = agree(results, new Map(), 'fixed lengths');
      expect(unknown(results)).toEqual([]);
      expect(fixed.known).toBe(fixed.all);
      inferWith(model.graph, (v) => declared.get(v), feeds);
      agree(results, symbolsOf(declared, feeds), 'symbolic lengths');
      expect(unknown(results)).toEqual(open[file] ?? []);
      opened.close();
    });
});
