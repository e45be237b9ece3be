/**
 * A training step next to PyTorch + PEFT (peers/torch_step.py) on the same model, batch and initial adapter: processes in turn,
 * medians per round, ratios of the medians over all rounds.
 *
 *   npm run build && node bench/step.mjs WORKLOAD FOLDER --python PYTHON
 *     [--ep cpu|cuda] [--threads 2] [--rounds 3] [--steps 20] [--per-run 1] [--peers eager,compile,reduce-overhead] [-- COMPILE OPTIONS]
 *
 * FOLDER holds model.onnx and batch.npz (peers/workloads.py WORKLOAD FOLDER) and init-adapter/ (peers/torch_step.py --save-init).
 * `--per-run K` times train_k.onnx, K steps a run. `cpu ms` is the processor time of a step, all threads together: less moved by
 * other work than wall time. Peak memory is the process's on the CPU; on a GPU PyTorch's own count, and the runtime's in its profile.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { adapterParams } from '../dist/adapters.js';
import { readManifest } from '../dist/formats/manifest.js';
import { readNpz } from '../dist/formats/npz.js';
import { elements } from '../dist/formats/rawTensor.js';
import { sessionOptions } from '../dist/runtime/session.js';
import { median, table, warnOfLoad } from './common.mjs';

const rest = process.argv.indexOf('--', 2);
const own = process.argv.slice(2, rest < 0 ? undefined : rest);
const compileOptions = rest < 0 ? [] : process.argv.slice(rest + 1);
const { positionals, values } = parseArgs({
  args: own,
  allowPositionals: true,
  options: {
    python: { type: 'string', default: 'python3' },
    ep: { type: 'string', default: 'cpu' },
    rounds: { type: 'string', default: '3' },
    steps: { type: 'string', default: '20' },
    threads: { type: 'string', default: '2' },
    'per-run': { type: 'string', default: '1' },
    peers: { type: 'string' },
    dtype: { type: 'string', default: 'float32' },
    package: { type: 'string' },
    profile: { type: 'boolean', default: false },
  },
});
const [workload, folder] = positionals;
if (folder === undefined) throw new Error('usage: node bench/step.mjs WORKLOAD FOLDER --python PYTHON');
const onGpu = values.ep !== 'cpu';
const warmup = 5;
const steps = Number(values.steps);
const perRun = Number(values['per-run']);
const rate = 1e-4;

const vector = (data) => new Tensor('float32', data, [data.length]);
const scalar = (x) => new Tensor('float32', Float32Array.of(x), []);
const stacked = (t) => {
  const data = new t.data.constructor(t.data.length * perRun);
  for (let k = 0; k < perRun; k++) data.set(t.data, k * t.data.length);
  return new Tensor(t.type, data, [perRun, ...t.dims]);
};

/** The child process: steps of a package, as torch_step.py reports its own. */
async function ours(packageDir) {
  const manifest = readManifest(packageDir);
  const session = await InferenceSession.create(join(packageDir, perRun > 1 ? 'train_k.onnx' : 'train.onnx'), {
    ...sessionOptions({ provider: values.ep, threads: onGpu ? undefined : Number(values.threads) }),
    ...(values.profile ? { enableProfiling: true, profileFilePrefix: join(packageDir, 'profile') } : {}),
  });
  const params = adapterParams(packageDir, manifest, { adapter: join(folder, 'init-adapter') });
  const types = { F32: 'float32', I64: 'int64' };
  const batch = [...readNpz(join(folder, 'batch.npz'))].map(([k, t]) => [
    k,
    new Tensor(types[t.dtype], elements(t), t.shape),
  ]);
  const fed = new Set(session.inputNames);
  const feeds = Object.fromEntries(batch.filter(([k]) => fed.has(k)).map(([k, t]) => [k, perRun > 1 ? stacked(t) : t]));
  feeds.lora_lr = perRun > 1 ? new Tensor('float32', new Float32Array(perRun).fill(rate), [perRun]) : scalar(rate);
  if (perRun > 1) feeds.lora_apply = new Tensor('bool', new Uint8Array(perRun).fill(1), [perRun]);
  let state = {
    lora_params: vector(params),
    lora_m: vector(new Float32Array(params.length)),
    lora_v: vector(new Float32Array(params.length)),
    lora_step: scalar(0),
    ...(fed.has('lora_loss_scale') ? { lora_loss_scale: scalar(2 ** 16) } : {}),
  };
  const [times, cpu, losses] = [[], [], []];
  const untimed = perRun > 1 ? 2 : warmup;
  for (let i = 0; i < untimed + Math.ceil(steps / perRun); i++) {
    const [start, used] = [performance.now(), process.cpuUsage()];
    const out = await session.run({ ...feeds, ...state });
    state = Object.fromEntries(Object.keys(state).map((k) => [k, out[`${k}_next`]]));
    losses.push(...out.loss.data);
    times.push((performance.now() - start) / perRun);
    const { user, system } = process.cpuUsage(used);
    cpu.push((user + system) / 1000 / perRun);
  }
  await session.release();
  const peak = values.profile ? peakInUse(packageDir) : process.resourceUsage().maxRSS / 1024;
  return { median_ms: median(times.slice(untimed)), cpu_ms: median(cpu.slice(untimed)), peak_mib: peak, losses };
}

/** The runtime's own peak of memory in use, in MiB: an upper bound over its allocators. */
function peakInUse(packageDir) {
  const file = readdirSync(packageDir).find((f) => f.startsWith('profile'));
  if (file === undefined) return Number.NaN;
  const numbers = readFileSync(join(packageDir, file), 'utf8').matchAll(/"mem_in_use_peak"\s*:\s*"?(\d+)/g);
  return Math.max(...[...numbers].map((m) => Number(m[1]))) / 2 ** 20;
}

function child(program, args) {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', maxBuffer: 2 ** 28 });
  if (status !== 0) {
    console.error(`${program} ${args.join(' ')} ended with ${status}: ${stderr.slice(-2000)}`);
    return undefined;
  }
  return JSON.parse(stdout.trim().split('\n').at(-1));
}

function compare(packageDir) {
  const self = fileURLToPath(import.meta.url);
  const torchStep = fileURLToPath(new URL('./peers/torch_step.py', import.meta.url));
  const torch = (...args) =>
    child(
      values.python,
      [torchStep, workload, '--device', values.ep, '--dtype', values.dtype, '--threads', values.threads].concat([
        '--steps',
        values.steps,
        '--rate',
        String(rate),
        ...args,
      ]),
    );
  const mine = (...args) =>
    child(
      process.execPath,
      [self, workload, folder, '--package', packageDir, '--ep', values.ep, '--threads', values.threads].concat([
        '--steps',
        values.steps,
        '--per-run',
        values['per-run'],
        ...args,
      ]),
    );
  const wanted = values.peers?.split(',') ?? (onGpu ? ['eager', 'compile'] : ['eager']);
  const peers = { loraify: () => mine() };
  for (const mode of wanted) {
    peers[`PyTorch ${mode}, sdpa`] = () => torch('--mode', mode);
    if (!onGpu) peers[`PyTorch ${mode}, plain attention`] = () => torch('--mode', mode, '--attention', 'eager');
  }
  const results = Object.keys(peers).map(() => []);
  for (let i = 0; i < Number(values.rounds); i++)
    for (const [k, run] of Object.values(peers).entries()) {
      const result = run();
      if (result === undefined) continue;
      results[k].push(result);
      console.error(`${Object.keys(peers)[k]}: ${result.median_ms.toFixed(1)} ms`);
    }
  const medians = results.map((runs) => median(runs.map((r) => r.median_ms)));
  const rows = Object.keys(peers).map((name, k) => [
    name,
    ...Array.from({ length: Number(values.rounds) }, (_, i) => (results[k][i]?.median_ms ?? Number.NaN).toFixed(1)),
    medians[k].toFixed(1),
    median(results[k].map((r) => r.cpu_ms)),
    (medians[0] / medians[k]).toFixed(2),
    median(results[k].map((r) => r.peak_mib)),
  ]);
  console.log(
    `${workload}, ${values.ep}, ${perRun > 1 ? `${perRun} steps a run` : 'one step a run'}, base ${values.dtype}`,
  );
  table(
    ['', ...results[0].map((_, i) => `round ${i + 1} ms`), 'median ms', 'cpu ms', 'loraify / it', 'peak MiB'],
    rows,
  );
  const [first, theirs] = [results[0][0]?.losses ?? [], results[1]?.[0]?.losses ?? []];
  const shared = first.slice(0, theirs.length);
  const off = Math.max(...shared.map((x, i) => Math.abs(x - theirs[i]) / Math.abs(theirs[i])));
  console.log(`largest relative difference of ${shared.length} losses to PyTorch's: ${off.toExponential(1)}`);
  if (onGpu)
    console.log(
      `memory in use at most, as the runtime's profile has it: ${mine('--profile')?.peak_mib.toFixed(0)} MiB`,
    );
}

if (values.package !== undefined) console.log(JSON.stringify(await ours(values.package)));
else {
  warnOfLoad();
  const work = mkdtempSync(join(tmpdir(), 'step-'));
  try {
    const out = join(work, 'package');
    const bin = fileURLToPath(new URL('../dist/bin/loraify.js', import.meta.url));
    const args = [
      join(folder, 'model.onnx'),
      '-o',
      out,
      '--quiet',
      '--adapter',
      join(folder, 'init-adapter'),
      ...compileOptions,
    ];
    execFileSync(process.execPath, [bin, ...args], { stdio: ['ignore', 'ignore', 'inherit'] });
    compare(out);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
