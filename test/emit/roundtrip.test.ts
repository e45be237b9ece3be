import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { onnx } from 'onnx-proto';
import ort from 'onnxruntime-node';
import { expect, it } from 'vitest';
import { encodeModel, planWeights, writeWeights } from '../../src/emit/index.ts';
import { memorySource } from '../../src/graph/tensor.ts';
import { parseFile, parseSource } from '../../src/parser/index.ts';
import { feedsFor } from '../support/sessionFeeds.ts';
import { describeShared, sharedPath } from '../support/sharedMaterial.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const refused: Readonly<Record<string, string>> = {
  'micro/corrupt.onnx': 'BAD_PROTOBUF',
  'micro/evil_external_location.onnx': 'EXTERNAL_DATA_OUTSIDE',
  'micro/no_opset_import.onnx': 'NO_OPSET',
  'micro/duplicate_opset_imports.onnx': 'NO_OPSET',
};

/** Written by onnx.helper: sorted, raw_data, nothing explicitly empty. They come back to the byte. */
const identical = ['dec_static_kv_opset24_std_attention.onnx', 'mlp_hand_keypoint.onnx'];

/** Not in topological order as they are; they are written sorted. */
const unsorted = ['dec_tiny_llama_fp16_extdata/model.onnx', 'enc_bert_toy_pytorch11_ir4.onnx'];

const quiet = { logSeverityLevel: 3, graphOptimizationLevel: 'disabled' } as const;

function modelsIn(part: string): string[] {
  return readdirSync(sharedPath(part), { recursive: true, encoding: 'utf8' })
    .filter((f) => f.endsWith('.onnx'))
    .sort();
}

describeShared('models of other writers', ['models', 'parity'], () => {
  for (const part of ['models', 'parity'])
    for (const name of modelsIn(part)) {
      const path = join(sharedPath(part), name);
      const code = refused[name];
      if (code !== undefined) {
        it(`${name} is refused`, () => expect(() => parseFile(path)).toThrow(expect.objectContaining({ code })));
        continue;
      }
      it(`${name} is read, written and computes the same`, async () => {
        const folder = temporaryFolder();
        const { model, source } = parseFile(path);
        const plan = planWeights([model], source.externalFiles);
        await writeWeights(plan, folder);
        const bytes = encodeModel(model, plan.placements);
        const copy = join(folder, 'copy.onnx');
        writeFileSync(copy, bytes);

        const again = parseFile(copy);
        const second = planWeights([again.model], again.source.externalFiles);
        expect(Buffer.compare(encodeModel(again.model, second.placements), bytes)).toBe(0);
        const inline = encodeModel(model);
        expect(Buffer.compare(encodeModel(again.model), inline)).toBe(0);
        const whole = parseSource(memorySource('whole', inline));
        expect(Buffer.compare(encodeModel(whole.model), inline)).toBe(0);
        if (identical.includes(name)) expect(Buffer.compare(inline, readFileSync(path))).toBe(0);

        const ours = onnx.ModelProto.decode(bytes);
        const theirs = onnx.ModelProto.decode(readFileSync(path));
        const nodes = (m: onnx.ModelProto): string[] => {
          const list = (m.graph?.node ?? []).map((n) => JSON.stringify([n.opType, n.name, n.input, n.output]));
          return unsorted.includes(name) ? list.toSorted() : list;
        };
        expect(nodes(ours)).toEqual(nodes(theirs));
        expect(ours.graph?.initializer?.map((t) => [t.name, t.dataType, t.dims])).toEqual(
          theirs.graph?.initializer?.map((t) => [t.name, t.dataType, t.dims]),
        );
        expect(ours.graph?.input).toEqual(theirs.graph?.input);
        expect(ours.graph?.output).toEqual(theirs.graph?.output);

        const [a, b] = [await ort.InferenceSession.create(path, quiet), await ort.InferenceSession.create(copy, quiet)];
        const feeds = feedsFor(a);
        const [want, have] = [await a.run(feeds), await b.run(feeds)];
        expect(Object.keys(have)).toEqual(Object.keys(want));
        for (const [key, tensor] of Object.entries(want)) expect(have[key]?.data, key).toEqual(tensor.data);
        source.close();
        again.source.close();
      });
    }
});
