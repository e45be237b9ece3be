// npm run demo: a small classifier reads upright handwritten digits. Rotate the paper by 90 degrees and it fails. An
// adapter of rank 8 repairs it: compile, train, merge, and run the merged model on plain ONNX Runtime. Data:
// fixtures/demo (UCI, CC BY 4.0).
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { compile, merge, Trainer } from 'loraify';
import { InferenceSession, Tensor } from 'onnxruntime-node';

const from = fileURLToPath(new URL('../fixtures/demo/', import.meta.url));
const out = 'demo.run';
mkdirSync(out, { recursive: true });

/** Rows { image, labels }; every fourth is kept for testing. */
const rows = readFileSync(`${from}digits.csv`, 'utf8')
  .trim()
  .split('\n')
  .slice(1)
  .map((line) => line.split(',').map(Number))
  .map((values) => ({ image: values.slice(0, 64).map((p) => p / 16), labels: values[64] }));

/** Rotates by 90 degrees clockwise. */
const turn = ({ image, labels }) => ({
  image: image.map((_, i) => image[8 * (7 - (i % 8)) + Math.floor(i / 8)]),
  labels,
});
const test = rows.filter((_, i) => i % 4 === 3);
const turned = { train: rows.filter((_, i) => i % 4 !== 3).map(turn), test: test.map(turn) };
// The same rows for the command line.
for (const [name, digits] of Object.entries(turned)) {
  const lines = digits.map(({ image, labels }) => [...image, labels].join());
  const header = [...Array.from({ length: 64 }, (_, i) => `image[${i}]`), 'labels'].join();
  writeFileSync(`${out}/turned-${name}.csv`, `${[header, ...lines].join('\n')}\n`);
}

/** The share of digits that a model file classifies correctly, with plain ONNX Runtime and without loraify. */
async function accuracy(file, digits) {
  const session = await InferenceSession.create(file);
  const image = new Tensor('float32', Float32Array.from(digits.flatMap((d) => d.image)), [digits.length, 64]);
  const { logits } = await session.run({ image });
  const read = digits.map((_, i) => logits.data.subarray(10 * i, 10 * i + 10)).map((s) => s.indexOf(Math.max(...s)));
  return digits.filter((d, i) => d.labels === read[i]).length / digits.length;
}
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const say = (label, text) => console.log(`${label.padEnd(34)} ${text}`);

say('source model, upright digits', percent(await accuracy(`${from}digits.onnx`, test)));
say('source model, turned digits', percent(await accuracy(`${from}digits.onnx`, turned.test)));

const started = performance.now();
const { dir, manifest } = await compile(`${from}digits.onnx`, {
  rank: 8,
  alpha: 16,
  out: `${out}/digits.lora`,
  force: true,
});
const { layers, trainable, total } = manifest.counts;
say(
  `compiled into ${dir}`,
  `${layers} layers, ${trainable} trainable parameters beside ${total - trainable} frozen ones`,
);

const trainer = await Trainer.open(dir);
const options = { epochs: 10, batchSize: 32, learningRate: 0.01, schedule: 'cosine' };
for await (const { step, loss } of trainer.fit(turned.train, options)) {
  if (step === 1 || step % 86 === 0) say(`step ${step}`, `loss ${loss.toFixed(4)}`);
}
say('base + adapter, turned digits', percent((await trainer.evaluate(turned.test)).accuracy));
await trainer.save(`${out}/adapter`);
await trainer.close();

const { file } = await merge(dir, { adapter: `${out}/adapter`, out: `${out}/digits-turned.onnx`, force: true });
say('compiled, trained and merged in', `${((performance.now() - started) / 1000).toFixed(1)} s`);
say('merged model, turned digits', `${percent(await accuracy(file, turned.test))} (${file}, same graph as the source)`);
