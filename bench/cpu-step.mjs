/**
 * One training step on the CPU next to PyTorch + PEFT (peers/torch_step.py) on the same model, batch and initial adapter:
 * processes in turn, medians per round, ratio of the medians over all rounds.
 *
 *   npm run build && node bench/cpu-step.mjs FOLDER --python PYTHON [--rounds 3] [--steps 20] [--threads 2]
 *
 * FOLDER holds model.onnx and batch.npz (peers/minilm_export.py) and init-adapter/ (peers/torch_step.py --save-init).
 * `cpu ms` is the processor time of a step, all threads together: less moved by other work than wall time.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { adapterParams } from '../dist/adapters.js';
import { readManifest } from '../dist/formats/manifest.js';
import { readNpz } from '../dist/formats/npz.js';
import { elements } from '../dist/formats/rawTensor.js';
import { compile } from '../dist/index.js';
import { median, table, warnOfLoad } from './common.mjs';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    python: { type: 'string', default: 'python3' },
    rounds: { type: 'string', default: '3' },
    steps: { type: 'string', default: '20' },
    threads: { type: 'string', default: '2' },
    package: { type: 'string' },
  },
});
const [folder] = positionals;
if (folder === undefined) throw new Error('usage: node bench/cpu-step.mjs FOLDER --python PYTHON');
const warmup = 5;
const steps = Number(values.steps);

const vector = (data) => new Tensor('float32', data, [data.length]);
const scalar = (x) => new Tensor('float32', Float32Array.of(x), []);

/** The child process: steps of train.onnx of a package, as torch_step.py reports its own. */
async function ours(packageDir) {
  const session = await InferenceSession.create(join(packageDir, 'train.onnx'), {
    intraOpNumThreads: Number(values.threads),
    logSeverityLevel: 3,
  });
  const params = adapterParams(readManifest(packageDir), join(folder, 'init-adapter'));
  const batch = [...readNpz(join(folder, 'batch.npz'))].map(([k, t]) => [k, new Tensor('int64', elements(t), t.shape)]);
  const feeds = { ...Object.fromEntries(batch), lora_lr: scalar(1e-4) };
  let state = {
    lora_params: vector(params),
    lora_m: vector(new Float32Array(params.length)),
    lora_v: vector(new Float32Array(params.length)),
    lora_step: scalar(0),
  };
  const [times, cpu, losses] = [[], [], []];
  for (let i = 0; i < warmup + steps; i++) {
    const [start, used] = [performance.now(), process.cpuUsage()];
    const out = await session.run({ ...feeds, ...state });
    state = Object.fromEntries(Object.keys(state).map((k) => [k, out[`${k}_next`]]));
    losses.push(out.loss.data[0]);
    times.push(performance.now() - start);
    const { user, system } = process.cpuUsage(used);
    cpu.push((user + system) / 1000);
  }
  const peak = process.resourceUsage().maxRSS / 1024;
  return { median_ms: median(times.slice(warmup)), cpu_ms: median(cpu.slice(warmup)), peak_rss_mib: peak, losses };
}

function child(program, args) {
  // MKL and OpenMP take the number of threads from torch.set_num_threads.
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ended with ${status}: ${stderr}`);
  return JSON.parse(stdout.trim().split('\n').at(-1));
}

function compare(packageDir) {
  const self = fileURLToPath(import.meta.url);
  const torchStep = fileURLToPath(new URL('./peers/torch_step.py', import.meta.url));
  const common = ['--threads', values.threads, '--steps', values.steps];
  const peers = {
    loraify: () => child(process.execPath, [self, folder, '--package', packageDir, ...common]),
    'PyTorch sdpa': () => child(values.python, [torchStep, '--attention', 'sdpa', ...common]),
    'PyTorch eager': () => child(values.python, [torchStep, '--attention', 'eager', ...common]),
  };
  const results = Object.keys(peers).map(() => []);
  for (let i = 0; i < Number(values.rounds); i++)
    for (const [k, run] of Object.values(peers).entries()) results[k].push(run());
  const medians = results.map((runs) => median(runs.map((r) => r.median_ms)));
  const rows = Object.keys(peers).map((name, k) => [
    name,
    ...results[k].map((r) => r.median_ms),
    medians[k],
    median(results[k].map((r) => r.cpu_ms ?? Number.NaN)),
    (medians[0] / medians[k]).toFixed(2),
    median(results[k].map((r) => r.peak_rss_mib)),
  ]);
  table(
    ['', ...results[0].map((_, i) => `round ${i + 1} ms`), 'median ms', 'cpu ms', 'loraify / it', 'peak MiB'],
    rows,
  );
  const [mine, , theirs] = results.map((runs) => runs[0].losses);
  const off = Math.max(...mine.map((x, i) => Math.abs(x - theirs[i]) / theirs[i]));
  console.log(`largest relative difference of ${mine.length} losses to eager PyTorch's: ${off.toExponential(1)}`);
}

if (values.package !== undefined) console.log(JSON.stringify(await ours(values.package)));
else {
  warnOfLoad();
  const work = mkdtempSync(join(tmpdir(), 'cpu-step-'));
  try {
    const out = join(work, 'package');
    await compile(join(folder, 'model.onnx'), { out, adapter: join(folder, 'init-adapter') });
    compare(out);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
