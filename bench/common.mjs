/** Helpers that the benchmarks share. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onnxRuntimeVersion } from '../dist/runtime/session/session.js';

export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const last = sorted.length - 1;
  return (sorted[Math.floor(last / 2)] + sorted[Math.ceil(last / 2)]) / 2;
}

/** Numbers are rounded to integers; values with digits are passed as text. */
export function table(head, rows) {
  const cells = [head, ...rows].map((row) => row.map((c) => (typeof c === 'number' ? c.toFixed(0) : c)));
  const widths = head.map((_, i) => Math.max(...cells.map((row) => row[i].length)));
  for (const row of cells) console.log(row.map((c, i) => c.padStart(widths[i])).join('  '));
}

/** Numbers measured while other processes run are not reliable. */
export function warnOfLoad() {
  const [load] = loadavg();
  if (load > 0.5)
    console.error(`warning: the load average is ${load.toFixed(1)} on ${cpus().length} cores; run on an idle machine`);
}

/** The machine on which the numbers were measured. */
export function machineOf() {
  const { stdout } = spawnSync('nvidia-smi', ['--query-gpu=name,driver_version', '--format=csv,noheader'], {
    encoding: 'utf8',
  });
  const gpu = stdout?.trim();
  const all = cpus();
  return {
    cpu: `${all.length} x ${all[0]?.model.trim()}`,
    ...(gpu ? { gpu } : {}),
    node: process.versions.node,
    'onnxruntime-node': onnxRuntimeVersion(),
  };
}

/** The last line of a program's output, as JSON; undefined with a message if the program fails. */
export function jsonOf(program, args) {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', maxBuffer: 2 ** 28 });
  if (status === 0) return JSON.parse(stdout.trim().split('\n').at(-1));
  console.error(`${program} ${args.join(' ')} ended with ${status}: ${stderr?.slice(-2000)}`);
  return undefined;
}

/** A table in Markdown. */
export function markdown(head, rows) {
  for (const row of [head, head.map(() => '---'), ...rows]) console.log(`| ${row.join(' | ')} |`);
}

/** The folder of a workload with its model, batch and initial adapter; missing files are made by PyTorch. */
export function workloadFolder(python, workload, folder) {
  const peer = (script, ...args) => {
    const file = fileURLToPath(new URL(`./peers/${script}`, import.meta.url));
    execFileSync(python, [file, workload, ...args], { stdio: ['ignore', 'ignore', 'inherit'] });
  };
  if (!existsSync(join(folder, 'model.onnx'))) peer('workloads.py', folder);
  const adapter = join(folder, 'init-adapter');
  if (!existsSync(adapter)) peer('torch_step.py', '--warmup', '0', '--steps', '1', '--save-init', adapter);
}
