/** --labels: the names of the classes in the manifest, from the option or from the model's config.json. */

import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type CompileOptions, compile } from '../../src/index.ts';
import { cases } from '../support/caseFolder.ts';
import { coded } from '../support/coded.ts';
import { loraify } from '../support/runCli.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const folder = temporaryFolder();
const source = join(cases, 'delimiters-and-json-arrays/tab.onnx');
let count = 0;
const compiled = async (options: CompileOptions, model = source) =>
  (await compile(model, { rank: 1, out: join(folder, `${count++}.lora`), ...options })).manifest;
const file = (name: string, content: unknown): string => {
  const path = join(folder, name);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
};
const refused = (...fragments: string[]) => expect.toSatisfy(coded('BAD_OPTION', ...fragments));
const id2label = { 0: 'cat', 1: 'dog', 2: 'bird' };

describe('--labels', () => {
  it.each([
    ['names', ['cat', 'dog', 'bird']],
    ['a list', 'cat, dog,bird'],
    ['a text file', file('names.txt', '\ufeffcat\r\ndog \r\nbird\r\n')],
    ['a JSON list', file('list.json', ['cat', 'dog', 'bird'])],
    ['id2label', file('id2label.json', { 2: 'bird', 0: 'cat', 1: 'dog' })],
    ['a config', file('some-config.json', { id2label, label2id: {} })],
  ])('%s', async (_, labels) => {
    expect((await compiled({ labels })).labels).toEqual({
      name: 'labels',
      type: 'int64',
      shape: ['N'],
      names: ['cat', 'dog', 'bird'],
    });
    expect((await compiled({ labels, loss: 'focal' })).labels?.names).toHaveLength(3);
  });

  it('a number is only compared', async () => {
    for (const labels of [3, '3', ['3']]) expect((await compiled({ labels })).labels?.names).toBeUndefined();
    await expect(compiled({ labels: 4 })).rejects.toThrow(refused('4 classes', '"logits" has 3'));
  });

  it.each<[string, CompileOptions, string[]]>([
    ['another number of names', { labels: 'a,b' }, ['--labels gives 2 classes, but "logits" has 3']],
    ['a name twice', { labels: ['a', 'b', 'a'] }, ['"a" occurs twice']],
    ['a blank line', { labels: file('blank.txt', 'a\n\nb') }, ['name 2 is empty']],
    ['another JSON', { labels: file('other.json', { cat: 1 }) }, ['a list of names, or id2label']],
    ['a gap in id2label', { labels: file('gap.json', { 0: 'a', 2: 'b', 3: 'c' }) }, ['a list of names, or id2label']],
    ['a loss without classes', { labels: 'a,b,c', loss: 'mse' }, ['--labels does not apply to --loss mse']],
  ])('refuses %s', async (_, options, fragments) => {
    await expect(compiled(options)).rejects.toThrow(refused(...fragments));
  });

  it('refuses a file that does not exist', async () => {
    const missing = expect.toSatisfy(coded('FILE_NOT_FOUND', 'absent.txt'));
    await expect(compiled({ labels: 'absent.txt' })).rejects.toThrow(missing);
  });
});

describe('config.json', () => {
  const model = (name: string, config: unknown, above = false): string => {
    const inner = join(folder, name, 'onnx');
    mkdirSync(inner, { recursive: true });
    copyFileSync(source, join(inner, 'model.onnx'));
    file(join(name, above ? '' : 'onnx', 'config.json'), config);
    return join(inner, 'model.onnx');
  };

  it.each([false, true])('has the names, in the folder above: %s', async (above) => {
    const path = model(`real-${above}`, { id2label }, above);
    expect((await compiled({}, path)).labels?.names).toEqual(['cat', 'dog', 'bird']);
    expect((await compiled({ labels: 'a,b,c' }, path)).labels?.names).toEqual(['a', 'b', 'c']);
    expect((await compiled({ loss: 'mse' }, path)).labels?.names).toBeUndefined();
  });

  it.each([
    ['made-up names', { id2label: { 0: 'LABEL_0', 1: 'LABEL_1', 2: 'LABEL_2' } }],
    ['another number', { id2label: { 0: 'a', 1: 'b' } }],
    ['numbers that are not indices', { id2label: { 0: '1', 1: '2', 2: '3' } }],
    ['no JSON', 'id2label'],
    ['a name twice', { id2label: { 0: 'a', 1: 'a', 2: 'b' } }],
  ])('is not used: %s', async (name, config) => {
    expect((await compiled({}, model(name, config))).labels?.names).toBeUndefined();
  });

  it('is named in the summary', async () => {
    const cwd = join(model('summary', { id2label }), '..');
    const { stdout } = await loraify(['model.onnx', '-r', '1'], { cwd });
    expect(stdout).toContain('names       cat, dog, bird (names in config.json); --labels changes them');
    const { stdout: own } = await loraify(['model.onnx', '-r', '1', '--force', '--labels', 'x,y,z'], { cwd });
    expect(own).toMatch(/names {7}x, y, z\n/);
  });
});
