// One model in memory, three adapters, chosen by the feeds of a run. Usage: node examples/swap.mjs
// The first half makes the files: adapters that read digits on paper that is rotated right, upside down, and left. The
// second half is the code of a server. Data: fixtures/demo (UCI, CC BY 4.0). examples/browser shows the same files in a
// page.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { compile, exportAdapter, merge, Trainer } from 'loraify';
import { adapterFeeds, baseFeeds, readAdapter } from 'loraify/adapter';
import { InferenceSession, Tensor } from 'onnxruntime-node';

const from = fileURLToPath(new URL('../fixtures/demo/', import.meta.url));
const out = 'swap.run';
mkdirSync(out, { recursive: true });

/** Clockwise quarter rotations. */
const turns = { right: 1, 'upside-down': 2, left: 3 };
const turned = (digits, quarters) =>
  quarters === 0
    ? digits
    : turned(
        digits.map(({ image, labels }) => ({
          image: image.map((_, i) => image[8 * (7 - (i % 8)) + Math.floor(i / 8)]),
          labels,
        })),
        quarters - 1,
      );
const rows = readFileSync(`${from}digits.csv`, 'utf8')
  .trim()
  .split('\n')
  .slice(1)
  .map((line) => line.split(',').map(Number))
  .map((values) => ({ image: values.slice(0, 64).map((p) => p / 16), labels: values[64] }));
const test = rows.filter((_, i) => i % 4 === 3);
const train = rows.filter((_, i) => i % 4 !== 3);
writeFileSync(`${out}/digits.json`, JSON.stringify(test));

const dir = `${out}/digits.lora`;
await compile(`${from}digits.onnx`, { rank: 8, alpha: 16, out: dir, force: true });
await exportAdapter(dir, { format: 'onnx', inputs: 'required', out: `${out}/digits.onnx`, force: true });
for (const [name, quarters] of Object.entries(turns)) {
  const trainer = await Trainer.open(dir);
  const options = { epochs: 10, batchSize: 32, learningRate: 0.01, schedule: 'cosine', stepsPerRun: 8 };
  for await (const _ of trainer.fit(turned(train, quarters), options));
  const adapter = `${out}/${name}`;
  await trainer.save(adapter);
  await trainer.close();
  await exportAdapter(dir, { adapter, format: 'onnx_adapter', out: `${adapter}.onnx_adapter`, force: true });
  await merge(dir, { adapter, out: `${adapter}.onnx`, force: true });
}

// The code from here on needs only files, ONNX Runtime, and loraify/adapter.
const session = await InferenceSession.create(`${out}/digits.onnx`);
const load = (name) => readAdapter(readFileSync(`${out}/${name}.onnx_adapter`));
const [right, upsideDown] = [load('right'), load('upside-down')];
// A PEFT directory works as well.
const left = readAdapter(
  readFileSync(`${out}/left/adapter_model.safetensors`),
  readFileSync(`${out}/left/adapter_config.json`, 'utf8'),
);
const inputs = session.inputMetadata;
const served = {
  base: baseFeeds(inputs, { Tensor }),
  right: adapterFeeds(right, inputs, { Tensor }),
  'upside-down': adapterFeeds(upsideDown, inputs, { Tensor }),
  left: adapterFeeds(left, inputs, { Tensor }),
  'right, strength 0.5': adapterFeeds(right, inputs, { Tensor, strength: 0.5 }),
};

const batch = (digits) => new Tensor('float32', Float32Array.from(digits.flatMap((d) => d.image)), [digits.length, 64]);
async function logits(digits, feeds, model = session) {
  return (await model.run({ ...feeds, image: batch(digits) })).logits.data;
}
function accuracy(digits, scores) {
  const read = digits.map((_, i) => scores.subarray(10 * i, 10 * i + 10)).map((s) => s.indexOf(Math.max(...s)));
  return `${((100 * digits.filter((d, i) => d.labels === read[i]).length) / digits.length).toFixed(1)} %`;
}
const line = (first, cells) => console.log(first.padEnd(22) + cells.map((c) => c.padStart(13)).join(''));
line('read right, of digits', ['upright', ...Object.keys(turns)]);
for (const [name, feeds] of Object.entries(served)) {
  const cells = [0, 1, 2, 3].map(async (quarters) => {
    const digits = turned(test, quarters);
    return accuracy(digits, await logits(digits, feeds));
  });
  line(name, await Promise.all(cells));
}
for (const name of Object.keys(turns)) {
  const digits = turned(test, turns[name]);
  const merged = await logits(digits, {}, await InferenceSession.create(`${out}/${name}.onnx`));
  const swapped = await logits(digits, served[name]);
  const size = merged.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  const difference = swapped.reduce((most, x, i) => Math.max(most, Math.abs(x - merged[i])), 0) / size;
  console.log(`${name}: logits as merged, within ${difference.toExponential(0)} of the largest`);
}
