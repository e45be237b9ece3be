/**
 * Measures the effect of `--precision fp16` and `bf16` on training: the same steps from the same adapter on the same
 * batches next to float32. Losses, the size of the package, time of a step, memory.
 *
 *   npm run build && node bench/precision.mjs MODEL.onnx BATCHES.npz
 *     [--adapter DIR] [--steps 100] [--rate 1e-3] [--ep cpu|cuda] [--threads 2] [--curves FILE.json] [-- COMPILE
 *     OPTIONS]
 *
 * BATCHES.npz has arrays `b0/<input>`, `b0/labels`, `b1/...`, used in turn (a parity pack: fixtures/peft-pack).
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { table, warnOfLoad } from './common.mjs';
import { readBatches, takeSteps } from './steps.mjs';

const rest = process.argv.indexOf('--', 2);
const { positionals, values } = parseArgs({
  args: process.argv.slice(2, rest < 0 ? undefined : rest),
  allowPositionals: true,
  options: {
    adapter: { type: 'string' },
    steps: { type: 'string', default: '100' },
    rate: { type: 'string', default: '1e-3' },
    ep: { type: 'string', default: 'cpu' },
    threads: { type: 'string', default: '2' },
    curves: { type: 'string' },
    package: { type: 'string' },
  },
});
const [model, data] = positionals;
if (data === undefined) throw new Error('usage: node bench/precision.mjs MODEL.onnx BATCHES.npz');
const steps = Number(values.steps);
const precisions = ['fp32', 'fp16', 'bf16'];

/** The child process: losses and times of the steps of one package. */
const trained = (folder) =>
  takeSteps(folder, {
    batches: readBatches(data),
    adapter: values.adapter,
    steps,
    rate: Number(values.rate),
    ep: values.ep,
    threads: Number(values.threads),
  });

const sizeOf = (folder) =>
  readdirSync(folder, { withFileTypes: true }).reduce(
    (n, f) => n + (f.isDirectory() ? sizeOf(join(folder, f.name)) : statSync(join(folder, f.name)).size),
    0,
  );

function compare() {
  const self = fileURLToPath(import.meta.url);
  const loraify = fileURLToPath(new URL('../dist/bin/loraify.js', import.meta.url));
  const temporary = mkdtempSync(join(tmpdir(), 'precision-'));
  try {
    const runs = precisions.map((precision) => {
      const folder = join(temporary, precision);
      const options = rest < 0 ? [] : process.argv.slice(rest + 1);
      const start = ['--precision', precision, '-o', folder, '--quiet'];
      const adapter = values.adapter === undefined ? [] : ['--adapter', values.adapter];
      execFileSync(process.execPath, [loraify, model, ...start, ...adapter, ...options], { stdio: 'inherit' });
      const own = process.argv.slice(2, rest < 0 ? undefined : rest);
      const out = execFileSync(process.execPath, [self, ...own, '--package', folder], { maxBuffer: 2 ** 28 });
      return { precision, size: sizeOf(folder), ...JSON.parse(out.toString()) };
    });
    const [exact] = runs;
    if (values.curves !== undefined)
      writeFileSync(values.curves, JSON.stringify(Object.fromEntries(runs.map((r) => [r.precision, r.losses]))));
    const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;
    table(
      ['precision', 'package MB', 'ms/step', 'MiB', 'steps taken', 'mean loss', 'last loss', 'mean off', 'most off'],
      runs.map(({ precision, size, median_ms: ms, peak_mib: mib, taken, losses }) => {
        const off = losses.map((x, i) => Math.abs(x - exact.losses[i]));
        const shown = [losses.at(-1), mean(off), Math.max(...off)];
        return [precision, (size / 1e6).toFixed(1), ms.toFixed(1), mib, taken, mean(losses).toFixed(4)].concat(
          shown.map((x, i) => (i === 0 ? x.toFixed(4) : x.toExponential(1))),
        );
      }),
    );
  } finally {
    rmSync(temporary, { recursive: true });
  }
}

if (values.package === undefined) {
  warnOfLoad();
  compare();
} else console.log(JSON.stringify(await trained(values.package)));
