// Runs model.onnx of a package, or a merged model, with ONNX Runtime alone: inputs and outputs are those of the source model.
// Usage: node examples/serve.mjs demo.run/digits-turned.onnx demo.run/turned-test.csv
import { readFileSync } from 'node:fs';
import { InferenceSession, Tensor } from 'onnxruntime-node';

const [model, data] = process.argv.slice(2);
const rows = readFileSync(data, 'utf8')
  .trim()
  .split('\n')
  .slice(1, 9)
  .map((line) => line.split(',').map(Number));
const session = await InferenceSession.create(model);
const image = new Tensor('float32', Float32Array.from(rows.flatMap((row) => row.slice(0, 64))), [rows.length, 64]);
const { logits } = await session.run({ image });
for (const [i, row] of rows.entries()) {
  const scores = logits.data.subarray(10 * i, 10 * i + 10);
  console.log(`label ${row[64]}, read as ${scores.indexOf(Math.max(...scores))}`);
}
