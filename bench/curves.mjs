/**
 * Losses over many steps in every precision and on every provider, next to PyTorch + PEFT: the same batch, weights and initial adapter.
 * Prints how far each run is from the reference, and draws the curves.
 *
 *   npm run build && node bench/curves.mjs WORKLOAD FOLDER [--out CURVES.json] [--plot CURVES.svg]
 *     [--ep cpu,cuda] [--precision fp32,fp16,bf16] [--torch float32,bfloat16 --python PYTHON] [--torch-device cpu|cuda]
 *     [--label WORDS] [--steps 100] [--rate 1e-4] [--threads 2] [--per-run 1] [-- COMPILE OPTIONS]
 *   node bench/curves.mjs --data A.json B.json … [--out ALL.json] [--plot ALL.svg]
 *
 * FOLDER is that of step.mjs, made where it is missing (with --python). Each provider's runs are compiled with `--for` it; `--label` tells runs
 * with other compile options apart. `--data` puts files of several machines or calls into one table and one plot: a later run replaces
 * an earlier one of the same name. The reference is `--reference`, or the first float32 run on the CPU.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { jsonOf, machineOf, markdown, workloadFolder } from './common.mjs';
import { curvesSvg, distances, referenceOf } from './plot.mjs';
import { readBatches, takeSteps } from './steps.mjs';

const rest = process.argv.indexOf('--', 2);
const compileOptions = rest < 0 ? [] : process.argv.slice(rest + 1);
const own = process.argv.slice(2, rest < 0 ? undefined : rest);
const { positionals, values } = parseArgs({
  args: own,
  allowPositionals: true,
  options: {
    data: { type: 'boolean' },
    out: { type: 'string' },
    plot: { type: 'string' },
    ep: { type: 'string', default: 'cpu' },
    precision: { type: 'string', default: 'fp32,fp16,bf16' },
    torch: { type: 'string' },
    'torch-device': { type: 'string' },
    python: { type: 'string', default: 'python3' },
    label: { type: 'string' },
    reference: { type: 'string' },
    steps: { type: 'string', default: '100' },
    rate: { type: 'string', default: '1e-4' },
    threads: { type: 'string', default: '2' },
    'per-run': { type: 'string', default: '1' },
    package: { type: 'string' },
  },
});
const list = (text) => text?.split(',').filter((s) => s !== '') ?? [];
const upper = { cpu: 'CPU', cuda: 'CUDA', webgpu: 'WebGPU' };
const short = { float32: 'fp32', float16: 'fp16', bfloat16: 'bf16' };
/** Nine digits identify a float32. */
const rounded = (losses) => losses.map((x) => Number(x.toPrecision(9)));

/** One after another, each in its own process. */
function measured(workload, folder) {
  workloadFolder(values.python, workload, folder);
  const here = (path) => fileURLToPath(new URL(path, import.meta.url));
  const runs = [];
  const take = (name, result, more) => {
    if (result === undefined) return;
    runs.push({ name: values.label === undefined ? name : `${name}, ${values.label}`, ...more });
    runs.at(-1).losses = rounded(result.losses);
    console.error(`${runs.at(-1).name}: ${result.losses[0].toFixed(4)} to ${result.losses.at(-1).toFixed(4)}`);
  };
  const temporary = mkdtempSync(join(tmpdir(), 'curves-'));
  try {
    for (const ep of list(values.ep))
      for (const precision of list(values.precision)) {
        const out = join(temporary, `${ep}-${precision}`);
        const options = ['--for', ep, '--precision', precision, ...compileOptions];
        const adapter = ['--adapter', join(folder, 'init-adapter'), '-o', out, '--quiet'];
        execFileSync(
          process.execPath,
          [here('../dist/bin/loraify.js'), join(folder, 'model.onnx'), ...adapter, ...options],
          {
            stdio: ['ignore', 'ignore', 'inherit'],
          },
        );
        const child = [here('./curves.mjs'), ...own, '--ep', ep, '--package', out];
        take(`${upper[ep] ?? ep} ${precision}`, jsonOf(process.execPath, child), { options });
        rmSync(out, { recursive: true, force: true });
      }
    const device = values['torch-device'] ?? list(values.ep).at(-1) ?? 'cpu';
    for (const dtype of list(values.torch)) {
      const args = ['--device', device, '--dtype', dtype, '--threads', values.threads, '--rate', values.rate];
      const steps = ['--warmup', '0', '--steps', values.steps];
      const result = jsonOf(values.python, [here('./peers/torch_step.py'), workload, ...args, ...steps]);
      take(`PyTorch ${upper[device] ?? device} ${short[dtype]}`, result, { versions: result?.versions });
    }
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
  const machine = machineOf();
  return {
    workload,
    steps: Number(values.steps),
    rate: Number(values.rate),
    runs: runs.map(({ losses, ...run }) => ({ ...run, machine, losses })),
  };
}

/** Files of one workload, merged. */
function merged(files) {
  const all = files.map((file) => JSON.parse(readFileSync(file, 'utf8')));
  const [{ workload, steps, rate }] = all;
  const odd = files.filter((_, i) => all[i].workload !== workload || all[i].steps !== steps || all[i].rate !== rate);
  if (odd.length > 0)
    throw new Error(`${odd.join(', ')} is not of ${workload} with ${steps} steps at rate ${rate}, as ${files[0]} is`);
  return { workload, steps, rate, runs: [...new Map(all.flatMap((d) => d.runs).map((r) => [r.name, r])).values()] };
}

if (values.package !== undefined) {
  const folder = positionals[1];
  const options = {
    batches: readBatches(join(folder, 'batch.npz')),
    adapter: join(folder, 'init-adapter'),
    ep: values.ep,
  };
  const numbers = { steps: Number(values.steps), rate: Number(values.rate), threads: Number(values.threads) };
  const steps = { ...options, ...numbers, perRun: Number(values['per-run']) };
  console.log(JSON.stringify(await takeSteps(values.package, steps)));
} else {
  if (positionals.length < (values.data ? 1 : 2))
    throw new Error('usage: node bench/curves.mjs WORKLOAD FOLDER, or --data FILES');
  const data = values.data ? merged(positionals) : measured(positionals[0], positionals[1]);
  const reference = referenceOf(data, values.reference);
  if (values.out !== undefined) writeFileSync(values.out, `${JSON.stringify(data)}\n`);
  if (values.plot !== undefined) writeFileSync(values.plot, await curvesSvg(data, reference));
  console.log(`${data.workload}, ${data.steps} steps at rate ${data.rate}, next to ${reference.name}:\n`);
  markdown(
    ['run', 'first loss', 'last loss', 'largest difference', 'mean difference'],
    data.runs.map((run) => {
      const off = distances(run, reference);
      const mean = off.reduce((a, b) => a + b, 0) / off.length;
      return [run.name, run.losses[0].toFixed(4), run.losses.at(-1).toFixed(4)].concat(
        run === reference ? ['', ''] : [Math.max(...off).toExponential(1), mean.toExponential(1)],
      );
    }),
  );
}
