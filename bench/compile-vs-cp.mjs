/**
 * Time and memory of a compile next to `cp` of the same file: one of each per round, `sync` before each, medians at the end.
 *
 *   npm run build && node bench/compile-vs-cp.mjs MODEL.onnx [--rounds 5] [--dir FOLDER]
 *
 * The time of a compile is that of the whole command, Node's start included.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { median, table, warnOfLoad } from './common.mjs';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: 'string', default: '5' }, dir: { type: 'string', default: tmpdir() } },
});
const [model] = positionals;
if (model === undefined) throw new Error('usage: node bench/compile-vs-cp.mjs MODEL.onnx [--rounds 5] [--dir FOLDER]');

const work = mkdtempSync(join(values.dir, 'compile-vs-cp-'));
const [copy, out] = [join(work, 'copy.onnx'), join(work, 'package')];
const bin = fileURLToPath(new URL('../dist/bin/loraify.js', import.meta.url));
/**
 * Prints the peak memory in KiB on stderr when the command ends. Measured in separate runs, because loading this takes
 * time too.
 */
const report = `data:text/javascript,process.on('exit', () => process.stderr.write('\\n' + process.resourceUsage().maxRSS))`;

function timed(program, args) {
  spawnSync('sync');
  const start = performance.now();
  const { status, stderr } = spawnSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'ignore', 'pipe'] });
  const ms = performance.now() - start;
  if (status !== 0) throw new Error(`${program} ended with ${status}: ${stderr}`);
  return { ms, stderr };
}

warnOfLoad();
try {
  // One unmeasured copy, so that the source is in the page cache for both.
  timed('cp', [model, copy]);
  rmSync(copy);
  const rounds = [];
  for (let i = 0; i < Number(values.rounds); i++) {
    const copied = timed('cp', ['--reflink=never', model, copy]);
    rmSync(copy);
    const compiled = timed(process.execPath, [bin, model, '-o', out, '--quiet']);
    rmSync(out, { recursive: true });
    const weighed = timed(process.execPath, ['--import', report, bin, model, '-o', out, '--quiet']);
    rmSync(out, { recursive: true });
    const mib = Number(weighed.stderr.trim().split('\n').at(-1)) / 1024;
    rounds.push({ cp: copied.ms, compile: compiled.ms, mib });
  }
  const [cp, compile, mib] = ['cp', 'compile', 'mib'].map((k) => median(rounds.map((r) => r[k])));
  console.log(`${model}: ${(statSync(model).size / 1e6).toFixed(0)} MB`);
  table(
    ['round', 'cp ms', 'compile ms', 'ratio', 'peak MiB'],
    [
      ...rounds.map((r, i) => [i + 1, r.cp, r.compile, (r.compile / r.cp).toFixed(2), r.mib]),
      ['median', cp, compile, (compile / cp).toFixed(2), mib],
    ],
  );
} finally {
  rmSync(work, { recursive: true, force: true });
}
