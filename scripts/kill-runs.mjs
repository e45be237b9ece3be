// node scripts/kill-runs.mjs [moments, 50] [writes, 20]: after `npm run build`. Kills a training run (SIGKILL) at
// moments uniform over its time, and repeatedly during the writing of a checkpoint, resumes it, and compares everything
// with the uninterrupted run: adapter, optimizer state, log. A run's time counts from the creation of its folder:
// before that there is nothing to resume. Exit status 1 if a single bit differs.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, watch, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const moments = Number(process.argv[2] ?? 50);
const writes = Number(process.argv[3] ?? 20);
const path = (name) => fileURLToPath(new URL(`../${name}`, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'loraify-kill-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

/** Starts the command line. `cut(child)` may kill it. */
function loraify(args, cut = () => {}) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [path('dist/cli/bin.js'), ...args], { cwd: folder });
    let stderr = '';
    child.stderr.on('data', (part) => {
      stderr += part;
    });
    child.once('close', (status, signal) => resolve({ status, signal, stderr }));
    cut(child);
  });
}

async function succeed(args) {
  const { status, stderr } = await loraify(args);
  if (status !== 0) throw new Error(`${args.join(' ')}: exit status ${status}\n${stderr}`);
  return stderr;
}

// Digits on rotated paper, which the model has to learn.
const [, ...lines] = readFileSync(path('fixtures/demo/digits.csv'), 'utf8').trim().split('\n');
const rows = lines.map((line) => {
  const cells = line.split(',').map(Number);
  const image = Array.from({ length: 64 }, (_, i) => cells[8 * (7 - (i % 8)) + Math.floor(i / 8)] / 16);
  return `${JSON.stringify({ image, labels: cells[64] })}\n`;
});
writeFileSync(join(folder, 'train.jsonl'), rows.slice(0, 700).join(''));
writeFileSync(join(folder, 'eval.jsonl'), rows.slice(700, 800).join(''));

// A rank that makes checkpoints some megabytes large.
await succeed([path('fixtures/demo/digits.onnx'), '-r', '256', '-o', 'digits.lora']);
const steps = 160;
const train = (out, ...more) =>
  `train digits.lora --data train.jsonl --eval-data eval.jsonl --steps ${steps} --batch-size 16 --lr 0.003 --schedule cosine --warmup 0.1 --eval-every 30 --save-every 8 --keep 2 -o ${out}`
    .split(' ')
    .concat(more);

function result(run) {
  const at = (...parts) => readFileSync(join(folder, run, ...parts));
  const log = at('log.jsonl').toString().trimEnd().split('\n');
  return {
    adapter: at('adapter', 'adapter_model.safetensors'),
    config: at('adapter', 'adapter_config.json'),
    optimizer: at('checkpoints', `step-${steps}`, 'optimizer.safetensors'),
    progress: at('checkpoints', `step-${steps}`, 'trainer_state.json'),
    checkpoints: Buffer.from(
      readdirSync(join(folder, run, 'checkpoints'))
        .sort()
        .join(),
    ),
    log: Buffer.from(log.map((line) => line.replace(/"examples_per_second":[^,}]*/, '')).join('\n')),
  };
}

/** Calls `act` when a file exists. */
function whenThere(file, child, act) {
  const timer = setInterval(() => {
    if (!existsSync(file)) return;
    clearInterval(timer);
    act();
  }, 1);
  child.once('close', () => clearInterval(timer));
}

/** Milliseconds of a run from the creation of its folder to its end. */
async function timed(run) {
  let began;
  const { status, stderr } = await loraify(train(run), (child) =>
    whenThere(join(folder, run), child, () => {
      began = performance.now();
    }),
  );
  if (status !== 0) throw new Error(stderr);
  return performance.now() - began;
}

await timed('warm-up');
const total = await timed('uncut');
const wanted = result('uncut');
console.log(`uncut: ${steps} steps in ${total.toFixed(0)} ms, ${wanted.optimizer.length} bytes of optimizer state`);

const isWriting = (run) => {
  const at = join(folder, run, 'checkpoints');
  return existsSync(at) && readdirSync(at).some((name) => name.startsWith('.step-'));
};

/**
 * Kills a run `delay` milliseconds after its folder is created, or after the writing of its `nth` checkpoint has begun.
 */
const cutting = (run, delay, nth) => (child) => {
  const kill = () => setTimeout(() => child.kill('SIGKILL'), delay);
  if (nth === undefined) return whenThere(join(folder, run), child, kill);
  const at = join(folder, run, 'checkpoints');
  return whenThere(at, child, () => {
    const names = new Set();
    const watcher = watch(at, (_, name) => {
      if (name?.startsWith('.step-') !== true || names.has(name) || !name.endsWith('.tmp')) return;
      names.add(name);
      if (names.size === nth) kill();
    });
    child.once('close', () => watcher.close());
  });
};

let inside = 0;
let same = 0;
let cuts = 0;

/** False if the run ended before it could be killed. */
async function attempt(name, delay, nth) {
  const killed = await loraify(train(name), cutting(name, delay, nth));
  const late = killed.signal !== 'SIGKILL';
  if (late && killed.status !== 0) throw new Error(killed.stderr);
  const within = !late && isWriting(name);
  if (!late) {
    const said = await succeed(train(name, '--resume'));
    const found = result(name);
    const differs = Object.keys(wanted).filter((part) => !wanted[part].equals(found[part]));
    cuts++;
    if (within) inside++;
    if (differs.length === 0) same++;
    const from = /(\d+) done before/.exec(said)?.[1] ?? '0';
    const verdict = differs.length === 0 ? 'same bits' : `DIFFERS in ${differs.join(', ')}`;
    console.log(
      `${name.padEnd(10)} resumed from ${from.padStart(3)}  ${verdict}${within ? ', killed inside a checkpoint' : ''}`,
    );
  }
  rmSync(join(folder, name), { recursive: true, force: true });
  return !late;
}

for (let i = 0; i < moments; i++) {
  const name = `moment-${i + 1}`;
  // The speed of the machine varies.
  let delay = (total * (i + 0.5)) / moments;
  while (!(await attempt(name, delay))) delay *= 0.95;
}
const uniformInside = inside;
for (let i = 0; i < writes; i++) await attempt(`write-${i + 1}`, (i % 4) * 2, 1 + ((3 * i) % 20));

console.log(
  `${same} of ${cuts} killed and resumed runs are bit for bit the uncut one; ${inside} were killed inside the writing of a checkpoint ` +
    `(${uniformInside} of them among the ${moments} uniform moments)`,
);
process.exitCode = same === cuts && inside >= 10 ? 0 : 1;
