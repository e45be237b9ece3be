/**
 * A training step next to PyTorch + PEFT (peers/torch_step.py) on the same model, batch and initial adapter: processes in turn,
 * medians per round, ratios of the medians over all rounds.
 *
 *   npm run build && node bench/step.mjs WORKLOAD FOLDER --python PYTHON
 *     [--ep cpu|cuda] [--threads 2] [--json FILE] [--rounds 3] [--steps 20] [--per-run 1] [--peers eager,compile,reduce-overhead] [-- COMPILE OPTIONS]
 *
 * FOLDER holds model.onnx and batch.npz (peers/workloads.py WORKLOAD FOLDER) and init-adapter/ (peers/torch_step.py --save-init).
 * `--per-run K` times train_k.onnx, K steps a run. `cpu ms` is the processor time of a step, all threads together: less moved by
 * other work than wall time. Peak memory is the process's on the CPU; on a GPU PyTorch's own count, and the runtime's in its profile.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { jsonOf, machineOf, median, table, warnOfLoad } from './common.mjs';
import { readBatches, takeSteps } from './steps.mjs';

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
    json: { type: 'string' },
  },
});
const [workload, folder] = positionals;
if (folder === undefined) throw new Error('usage: node bench/step.mjs WORKLOAD FOLDER --python PYTHON');
const onGpu = values.ep !== 'cpu';
const steps = Number(values.steps);
const perRun = Number(values['per-run']);
const rate = 1e-4;

/** The child process. */
function ours(packageDir) {
  const untimed = perRun > 1 ? 2 * perRun : 5;
  return takeSteps(packageDir, {
    batches: readBatches(join(folder, 'batch.npz')),
    adapter: join(folder, 'init-adapter'),
    steps: untimed + steps,
    untimed,
    ep: values.ep,
    threads: Number(values.threads),
    perRun,
    rate,
    profile: values.profile,
  });
}

function compare(packageDir) {
  const self = fileURLToPath(import.meta.url);
  const torchStep = fileURLToPath(new URL('./peers/torch_step.py', import.meta.url));
  const torch = (...args) =>
    jsonOf(
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
    jsonOf(
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
  const inUse = onGpu ? mine('--profile')?.peak_mib : undefined;
  if (inUse !== undefined)
    console.log(`memory in use at most, as the runtime's profile has it: ${inUse.toFixed(0)} MiB`);
  if (values.json === undefined) return;
  const measured = Object.keys(peers).map((name, k) => ({
    name,
    ms: results[k].map((r) => Number(r.median_ms.toFixed(2))),
    mib: Math.round((k === 0 ? inUse : undefined) ?? median(results[k].map((r) => r.peak_mib))),
  }));
  const versions = { ...machineOf(), ...results.flat().find((r) => r.versions)?.versions };
  const result = { workload, ep: values.ep, perRun, compile: compileOptions, off, measured, versions };
  writeFileSync(values.json, JSON.stringify(result));
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
