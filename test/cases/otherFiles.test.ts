/** Files that are no ONNX models: each is named, with the way to a model. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { fileKind } from '../../src/formats/fileKind.ts';
import { memorySource } from '../../src/graph/tensor.ts';
import { parseFile } from '../../src/parser/index.ts';
import { caseFolder, cases } from '../support/caseFolder.ts';
import { loraify } from '../support/runCli.ts';
import { describeShared, sharedPath } from '../support/sharedMaterial.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const other = caseFolder('files-of-other-kinds');
const text = (s: string): Uint8Array => new TextEncoder().encode(s);
const from = (...codes: readonly number[]): Uint8Array => Uint8Array.from([...codes, ...new Array<number>(64).fill(0)]);

const made: Readonly<Record<string, readonly [RegExp, Uint8Array]>> = {
  pointer: [/a git-lfs pointer[\s\S]*git lfs pull/, readFileSync(join(cases, 'not-an-onnx-file/lfs.onnx'))],
  html: [/a page of HTML[\s\S]*download the file itself/, text('\n<!DOCTYPE html>\n<html><head>')],
  htmlWithMark: [/a page of HTML/, text('\u{feff}<html lang="en">')],
  xml: [/an XML file/, text('<?xml version="1.0"?>\n<net name="m" version="11">')],
  json: [/a JSON file/, text('{\n  "architectures": ["BertModel"]\n}')],
  list: [/a JSON file/, text('[{"a": 1}]')],
  onnxText: [
    /ONNX's own syntax[\s\S]*parse_model/,
    text('<\n  ir_version: 8,\n  opset_import: ["" : 17]\n>\ng () => () {}'),
  ],
  ort: [/in the ORT format/, from(0x18, 0, 0, 0, ...text('ORTM'))],
  tflite: [/a TensorFlow Lite model[\s\S]*tf2onnx/, from(0x1c, 0, 0, 0, ...text('TFL3'))],
  gguf: [/a GGUF file/, from(...text('GGUF'), 3, 0, 0, 0)],
  hdf5: [/an HDF5 file, as Keras writes it/, from(0x89, ...text('HDF\r\n'), 0x1a, 0x0a)],
  words: [/a text file that begins with "hello there/, text('hello there\n')],
  savedModel: [/TensorFlow's own format/, from(8, 1, 18, 3, 10, 1, 0, ...text('serving_default'))],
  empty: [/the file is empty[\s\S]*download it again/, new Uint8Array(0)],
};

const real: Readonly<Record<string, RegExp>> = {
  'torch-save.pt': /a file of torch\.save[\s\S]*torch\.onnx\.export/,
  'torch-save-old.pt': /a file of torch\.save/,
  'torchscript.pt': /a TorchScript model/,
  'exported.pt2': /a file of torch\.export/,
  'pickle.pkl': /a Python pickle[\s\S]*skl2onnx/,
  'weights.safetensors': /a safetensors file[\s\S]*weights without a graph/,
  'arrays.npz': /an npz file/,
  'archive.gz': /a gzip archive[\s\S]*unpack/,
  'archive.zip': /a ZIP archive[\s\S]*unpack/,
  'archive.tar': /a tar archive/,
};

/** The code, message and hint of reading a model. */
function refusal(file: string): string {
  try {
    parseFile(file).source.close();
    return 'read';
  } catch (error) {
    if (error instanceof Error && 'code' in error && 'hint' in error)
      return `${error.code}: ${error.message}\n${error.hint}`;
    throw error;
  }
}

describe('a file in place of a model', () => {
  const folder = temporaryFolder();
  for (const [name, [message, bytes]] of Object.entries(made))
    it(name, () => {
      const file = join(folder, `${name}.onnx`);
      writeFileSync(file, bytes);
      expect(refusal(file)).toMatch(/^BAD_PROTOBUF/);
      expect(refusal(file)).toMatch(message);
    });
  for (const [name, message] of Object.entries(real))
    it(name, () => expect(refusal(join(other, name))).toMatch(message));

  it('a model that is cut short', () => {
    const bytes = readFileSync(join(cases, 'ir-version-14/model.onnx'));
    const file = join(folder, 'cut.onnx');
    writeFileSync(file, bytes.subarray(0, bytes.length - 20));
    expect(refusal(file)).toMatch(/^BAD_PROTOBUF[\s\S]*cut short: download, copy or export it again/);
  });

  it('a folder, whose models are named', () => {
    const hub = join(folder, 'hub');
    mkdirSync(join(hub, 'onnx'), { recursive: true });
    expect(refusal(hub)).toMatch(/^FILE_NOT_FOUND: .* it is a folder/);
    writeFileSync(join(hub, 'onnx/model.onnx'), '');
    expect(refusal(hub)).toContain(`give a file in it: ${join(hub, 'onnx/model.onnx')}`);
  });

  it('the data file of a model', () => {
    const file = join(folder, 'big.onnx');
    writeFileSync(file, '');
    writeFileSync(`${file}_data`, from(0x3f, 0x80));
    expect(refusal(`${file}_data`)).toContain(`give the model itself: ${file}`);
  });

  it('every command says so, with exit status 1 and nothing written', async () => {
    const cwd = caseFolder('not-an-onnx-file');
    for (const args of [
      ['inspect', 'lfs.onnx'],
      ['lfs.onnx', '-r', '2', '-o', 'p'],
      ['print', 'lfs.onnx'],
    ]) {
      const { status, stderr } = await loraify(args, { cwd });
      expect([status, stderr]).toEqual([1, expect.stringContaining('it is a git-lfs pointer')]);
      expect(stderr).toContain('hint: run git lfs pull');
    }
  });
});

it('a data file that is a git-lfs pointer is named', async () => {
  const cwd = caseFolder('external-data-subfolder');
  writeFileSync(join(cwd, 'a/weights/model.data'), made.pointer?.[1] ?? '');
  const { stderr } = await loraify(['a/model.onnx', '-r', '2', '-o', 'p'], { cwd });
  expect(stderr).toMatch(/EXTERNAL_DATA_BOUNDS[\s\S]*is a git-lfs pointer[\s\S]*git lfs pull/);
});

describeShared('models', 'models', () => {
  it.each(['dec_tiny_llama_fp16_extdata/model.onnx', 'txt_magika_v1.onnx', 'micro/scan_lstm_cntk.onnx'])(
    '%s is no other file',
    (name) => {
      const bytes = readFileSync(sharedPath('models', name));
      expect(fileKind(memorySource(name, new Uint8Array(bytes)))).toBeUndefined();
    },
  );
});
