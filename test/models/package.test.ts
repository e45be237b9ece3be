/** Whole packages: the same bytes twice, memory for the graph only, nothing left behind by what is refused. */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { InferenceSession } from 'onnxruntime-node';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { main } from '../../src/cli/main.ts';
import { compile } from '../../src/compile/index.ts';
import { trainable } from '../support/realModels.ts';
import { describeShared, sharedPath } from '../support/sharedMaterial.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const folder = temporaryFolder();

describeShared('packages', ['models', 'parity'], () => {
  it.each(trainable)('of $name are the same bytes twice', async ({ name, file }) => {
    const [first, second] = [join(folder, `${name}.1`), join(folder, `${name}.2`)];
    for (const out of [first, second]) await compile(sharedPath(file), { out });
    const list = readdirSync(first, { recursive: true, encoding: 'utf8' }).sort();
    expect(list).toContain('train_k.onnx');
    expect(readdirSync(second, { recursive: true, encoding: 'utf8' }).sort()).toEqual(list);
    for (const f of list) {
      if (statSync(join(first, f)).isDirectory()) continue;
      expect(readFileSync(join(second, f)).equals(readFileSync(join(first, f))), f).toBe(true);
    }
  });

  // Its Conv nodes are fused inside the body of the Scan too.
  it('of a quantized model load, fused and not', async () => {
    const out = join(folder, 'quantized');
    await compile(sharedPath('models/cnn_mobilenet_v2_qdq_int8.onnx'), { out });
    for (const graphOptimizationLevel of ['disabled', 'all'] as const)
      for (const f of ['model', 'train', 'train_k', 'eval', 'grad', 'update'])
        await InferenceSession.create(join(out, `${f}.onnx`), { graphOptimizationLevel, logSeverityLevel: 3 });
  });
});

const refused = [
  ['corrupt', 'BAD_PROTOBUF'],
  ['evil_external_location', 'EXTERNAL_DATA_OUTSIDE'],
  ['no_opset_import', 'NO_OPSET'],
  ['duplicate_opset_imports', 'NO_OPSET'],
  ['local_functions_nested_if', 'NO_LAYERS'],
  ['conv_int4_weights_qdq', 'NO_LAYERS'],
] as const;

describeShared('refused files', 'models/micro', () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  it.each(refused)('%s: %s, exit status 1, nothing left behind', async (name, code) => {
    const said: string[] = [];
    vi.spyOn(process.stderr, 'write').mockImplementation((text) => said.push(String(text)) > 0);
    const before = readdirSync(folder).sort();
    const status = await main([sharedPath(`models/micro/${name}.onnx`), '-o', join(folder, name)]);
    expect(said.join('')).toContain(`error[${code}]: `);
    expect(status).toBe(1);
    expect(readdirSync(folder).sort()).toEqual(before);
  });
});

/** A field of the wire format: a number, or bytes whose last `hole` are not given. */
function field(number: number, content: number | Buffer, hole = 0): Buffer {
  const varint = (n: number): number[] => (n < 128 ? [n] : [(n % 128) + 128, ...varint(Math.floor(n / 128))]);
  if (typeof content === 'number') return Buffer.from([...varint(number * 8), ...varint(content)]);
  return Buffer.concat([Buffer.from([...varint(number * 8 + 2), ...varint(content.length + hole)]), content]);
}
const text = (number: number, content: string): Buffer => field(number, Buffer.from(content));

/** A chain of square products of `width`, whose weights are holes in the file. */
function writeWide(path: string, width: number, layers: number): void {
  const weight = width * width * 4;
  const type = (name: string): Buffer => {
    const dims = Buffer.concat([text(2, 'N'), field(1, width)].map((d) => field(1, d)));
    const tensor = Buffer.concat([field(1, 1), field(2, dims)]);
    return Buffer.concat([text(1, name), field(2, field(1, tensor))]);
  };
  const nodes = Array.from({ length: layers }, (_, i) =>
    field(
      1,
      Buffer.concat([
        text(1, i === 0 ? 'x' : `h${i}`),
        text(1, `w${i}`),
        text(2, i === layers - 1 ? 'y' : `h${i + 1}`),
        text(4, 'MatMul'),
      ]),
    ),
  );
  const ends = Buffer.concat([text(2, 'g'), field(11, type('x')), field(12, type('y'))]);
  const tensors = Array.from({ length: layers }, (_, i) => {
    const head = Buffer.concat([
      field(1, width),
      field(1, width),
      field(2, 1),
      text(8, `w${i}`),
      field(9, Buffer.alloc(0), weight),
    ]);
    return field(5, head, weight);
  });
  const graph = Buffer.concat([...nodes, ends]);
  const size = [graph, ...tensors].reduce((n, b) => n + b.length, 0) + layers * weight;
  const head = Buffer.concat([field(1, 8), field(8, field(2, 17)), field(7, graph, size - graph.length)]);
  const file = openSync(path, 'w');
  let at = writeSync(file, head, 0, head.length, 0);
  for (const t of tensors) at += writeSync(file, t, 0, t.length, at) + weight;
  ftruncateSync(file, at);
  closeSync(file);
}

describe('memory', () => {
  const built = join(import.meta.dirname, '../../dist/index.js');
  it.skipIf(!existsSync(built)).each([
    ['fp32', 200e6],
    ['bf16', 100e6],
  ])('is that of the graph, not of the weights: %s', (precision, bytes) => {
    const source = join(folder, 'wide.onnx');
    if (!existsSync(source)) writeWide(source, 2560, 8);
    expect(statSync(source).size).toBeGreaterThan(200e6);
    const out = join(folder, `wide-${precision}.lora`);
    const script = `const { compile } = await import(${JSON.stringify(`file://${built}`)});
      const { manifest } = await compile(${JSON.stringify(source)}, ${JSON.stringify({ out, precision })});
      console.log(JSON.stringify([manifest.layers.length, process.resourceUsage().maxRSS]));`;
    const printed = execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    const [layers, kilobytes] = printed.match(/\d+/g)?.map(Number) ?? [];
    expect(layers).toBe(8);
    expect((kilobytes ?? Number.NaN) * 1024).toBeLessThan(200e6);
    const { size } = statSync(join(out, 'weights.bin'));
    expect(size).toBeGreaterThan(bytes);
    expect(size).toBeLessThan(1.1 * bytes);
  });
});
