import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { manifestJsonSchema, manifestText, parseManifest, readManifest } from '../../src/formats/manifest.ts';
import { coded } from '../support/coded.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';
import { tinyManifest } from '../support/tinyManifest.ts';

const folder = temporaryFolder();

it('reads what it writes, to the byte', () => {
  const manifest = tinyManifest();
  const text = manifestText(manifest);
  writeFileSync(join(folder, 'loraify.json'), text);
  expect(readManifest(folder)).toEqual(manifest);
  expect(manifestText(readManifest(folder))).toBe(text);
});

it('names the field that is wrong', () => {
  const broken = (change: (json: Record<string, unknown>) => void): string => {
    const json = JSON.parse(manifestText(tinyManifest()));
    change(json);
    return JSON.stringify(json);
  };
  const cases: readonly [(json: Record<string, unknown>) => void, string][] = [
    [(json) => Object.assign(json, { format: 'loraify/2' }), '"loraify/2"'],
    [(json) => Object.assign(json, { inputs: [{ name: 'x', type: 'float32', shape: [1.5] }] }), 'inputs[0].shape[0]'],
    [(json) => Object.assign(json, { graphs: { model: '../model.onnx' } }), 'graphs.model'],
    [(json) => Object.assign(json, { graphs: { model: '..' } }), 'graphs.model'],
    [(json) => Reflect.deleteProperty(json, 'state'), 'state'],
    [(json) => Object.assign(json.state ?? {}, { size: 3 }), 'layers[0]'],
  ];
  for (const [change, fragment] of cases) {
    expect(() => parseManifest(broken(change))).toThrow(expect.toSatisfy(coded('BAD_PACKAGE', fragment)));
  }
  expect(() => readManifest(join(folder, 'nothing'))).toThrow(expect.toSatisfy(coded('BAD_PACKAGE', 'nothing')));
});

it('has a JSON Schema', () => {
  expect(manifestJsonSchema()).toMatchObject({
    type: 'object',
    properties: { format: { const: 'loraify/1' }, layers: { type: 'array' } },
  });
});
