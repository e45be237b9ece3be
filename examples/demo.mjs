// A classifier reads upright handwritten digits; turned by 90 degrees they are lost on it. A LoRA adapter repairs that.
// Model and data: fixtures/demo/README.md. Run with: npm run demo
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { compile, merge, Trainer } from 'loraify';
import { InferenceSession, Tensor } from 'onnxruntime-node';

const here = fileURLToPath(new URL('../fixtures/demo/', import.meta.url));
const out = process.argv[2] ?? 'demo-output';
const percent = (x) => `${(100 * x).toFixed(1)} %`;

// 64 pixels and the digit per line; the picture is turned clockwise. Every fourth row is kept for testing.
const rows = readFileSync(`${here}digits.csv`, 'utf8')
  .trim()
  .split('\n')
  .slice(1)
  .map((line) => {
    const cells = line.split(',').map(Number);
    const image = Float32Array.from({ length: 64 }, (_, i) => cells[8 * (7 - (i % 8)) + Math.floor(i / 8)] / 16);
    return { image, labels: cells[64] };
  });
const test = rows.filter((_, i) => i % 4 === 3);
const training = rows.filter((_, i) => i % 4 !== 3);

const { dir, manifest } = await compile(`${here}digits.onnx`, {
  rank: 8,
  alpha: 16,
  out: `${out}/digits.lora`,
  force: true,
});
const { layers, trainable, total } = manifest.counts;
console.log(
  `compiled: ${layers} layers, ${trainable} trainable parameters beside ${total - trainable} frozen ones -> ${dir}`,
);

const trainer = await Trainer.open(dir);
const before = await trainer.evaluate(test);
console.log(`turned test digits before: ${percent(before.accuracy)} right`);

const start = performance.now();
for await (const step of trainer.fit(training, { epochs: 10, batchSize: 32, learningRate: 0.01, schedule: 'cosine' })) {
  if (Number.isInteger(step.epoch))
    console.log(`epoch ${step.epoch}: loss ${step.loss.toFixed(3)}, lr ${step.lr.toFixed(5)}`);
}
console.log(`trained in ${((performance.now() - start) / 1000).toFixed(1)} s on ${trainer.provider}`);
const after = await trainer.evaluate(test);
console.log(`turned test digits after:  ${percent(after.accuracy)} right`);
await trainer.save(`${out}/adapter`);
await trainer.close();

// The merged model is the source with other bytes in its weights: any ONNX Runtime runs it, without loraify.
const { file } = await merge(dir, { adapter: `${out}/adapter`, out: `${out}/digits-turned.onnx`, force: true });
const session = await InferenceSession.create(file);
const pixels = Float32Array.from(test.flatMap(({ image }) => [...image]));
const { logits } = await session.run({ image: new Tensor('float32', pixels, [test.length, 64]) });
const right = test.filter(({ labels }, i) => {
  const scores = logits.data.subarray(10 * i, 10 * i + 10);
  return scores.indexOf(Math.max(...scores)) === labels;
});
console.log(`merged model ${file}: ${percent(right.length / test.length)} right`);
