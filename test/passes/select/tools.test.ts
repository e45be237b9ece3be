/** Module paths in files that simplifiers, optimizers and quantizers wrote (fixtures/tools). */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { parseFile } from '../../../src/parser/index.ts';
import { findCandidates } from '../../../src/passes/index.ts';

const folder = join(import.meta.dirname, '../../../fixtures/tools');
const modules = z.array(z.string()).parse(JSON.parse(readFileSync(join(folder, 'paths.json'), 'utf8')));
const files = readdirSync(folder).filter((name) => name.endsWith('.onnx'));

/** What no name in the file tells: PEFT exports warn about it. */
const nameless: Readonly<Record<string, readonly string[]>> = {
  // One Attention, whose bias and result have names of the optimizer.
  'dynamo.transformers.onnx': ['query', 'key', 'value'].map((name) => `layers.0.attention.${name}`),
};

describe('the modules of a block after', () => {
  it('has files of six tools for both exporters', () => expect(files.length).toBe(12));

  it.each(files)('%s', (file) => {
    const { model, source } = parseFile(join(folder, file));
    source.close();
    const { candidates } = findCandidates(model);
    const paths = new Set(candidates.filter((c) => c.op !== 'Gather').map((c) => c.path));
    expect(modules.filter((path) => !paths.has(path))).toEqual(nameless[file] ?? []);
    expect(paths.size).toBe(modules.length);
  });
});
