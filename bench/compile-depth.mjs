/**
 * CPU time of a compile by the size of the graph: the minimum of several runs of each model, in turn, the command's
 * start included. Models of narrow layers show the cost of the graph without the weights; the last column is constant
 * if every pass is linear.
 *
 *   npm run build && node bench/compile-depth.mjs SHALLOW.onnx DEEP.onnx … [--rounds 5] [--dir FOLDER]
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { table, warnOfLoad } from './common.mjs';

const { positionals: models, values } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: 'string', default: '5' }, dir: { type: 'string', default: tmpdir() } },
});
if (models.length < 2) throw new Error('usage: node bench/compile-depth.mjs SHALLOW.onnx DEEP.onnx … [--rounds 5]');

const work = mkdtempSync(join(values.dir, 'compile-depth-'));
const out = join(work, 'package');
const bin = fileURLToPath(new URL('../dist/bin/loraify.js', import.meta.url));
/** Prints the CPU time in microseconds on stderr when the command ends. */
const report = `data:text/javascript,process.on('exit', () => process.stderr.write('\\n' + process.cpuUsage().user))`;

function userMs(model) {
  const args = ['--import', report, bin, model, '-o', out, '--quiet'];
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${model}: the command ended with ${status}: ${stderr}`);
  const graph = statSync(join(out, 'train.onnx')).size;
  rmSync(out, { recursive: true });
  return { ms: Number(stderr.trim().split('\n').at(-1)) / 1000, graph };
}

warnOfLoad();
try {
  const least = new Map();
  for (let i = 0; i < Number(values.rounds); i++)
    for (const model of models) {
      const run = userMs(model);
      least.set(model, { ...run, ms: Math.min(run.ms, least.get(model)?.ms ?? Infinity) });
    }
  const [first] = least.values();
  table(
    ['model', 'train.onnx KB', 'user ms', 'ms per KB beyond the first'],
    [...least].map(([model, { ms, graph }]) => [
      model,
      graph / 1000,
      ms,
      graph === first.graph ? '' : ((ms - first.ms) / ((graph - first.graph) / 1000)).toFixed(2),
    ]),
  );
} finally {
  rmSync(work, { recursive: true, force: true });
}
