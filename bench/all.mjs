/**
 * One table of docs/explain/performance.md: every workload next to PyTorch + PEFT, peers in turn (step.mjs), models made where they are missing.
 * Prints Markdown with the versions.
 *
 *   npm run build && node bench/all.mjs cpu|gpu --python PYTHON --models FOLDER
 *     [--only minilm,mlp] [--rounds 3] [--steps 20] [--threads 2] [--out bench/results/cpu.json]
 *
 * `--out` is written after each workload, and keeps earlier rows that are not measured now: a table can be made in
 * parts. `node bench/plots.mjs` plots the files in bench/results.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { markdown, median, workloadFolder } from './common.mjs';

const half = (precision, dtype) => ({ compile: ['--precision', precision], dtype });
/**
 * `compile`: options in addition to --for; `dtype`: PyTorch's base; `attention`: whether PyTorch has a second form of
 * it.
 */
const tables = {
  cpu: {
    title: 'Two CPU threads, --for cpu',
    ep: 'cpu',
    peers: 'eager',
    rows: {
      minilm: { label: 'MiniLM size, 16 x 64' },
      'gpt2-mini': { label: 'GPT-2-like, 4 x 128' },
      mlp: { label: 'MLP 784-1024-1024-10, batch 64', attention: false },
    },
  },
  gpu: {
    title: 'H100, --for cuda',
    ep: 'cuda',
    peers: 'eager,compile,reduce-overhead',
    rows: {
      'bert-base': { label: 'BERT-base, 32 x 128', perRun: 16 },
      'bert-base fp16': { label: 'BERT-base, fp16 base (PyTorch: TF32)', perRun: 16, compile: ['--precision', 'fp16'] },
      gpt2: { label: 'GPT-2 small, 8 x 512', perRun: 8 },
      'llama-1b bf16': { label: 'Llama-shaped 1.1 B, 4 x 512, bf16 base', perRun: 4, ...half('bf16', 'bfloat16') },
      'llama-1b fp16': { label: 'Llama-shaped 1.1 B, 4 x 512, fp16 base', perRun: 4, ...half('fp16', 'float16') },
      'mlp-wide': { label: 'MLP 8 x 2048, batch 512', perRun: 16 },
      minilm: { label: 'MiniLM size, 16 x 64', perRun: 10 },
      'gpt2-mini': { label: 'GPT-2-like, 4 x 128', perRun: 10 },
    },
  },
};

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    python: { type: 'string', default: 'python3' },
    models: { type: 'string' },
    only: { type: 'string' },
    rounds: { type: 'string', default: '3' },
    steps: { type: 'string', default: '20' },
    threads: { type: 'string', default: '2' },
    peers: { type: 'string' },
    out: { type: 'string' },
  },
});
const table = tables[positionals[0]];
if (table === undefined || values.models === undefined)
  throw new Error('usage: node bench/all.mjs cpu|gpu --python PYTHON --models FOLDER');
const wanted = values.only?.split(',') ?? Object.keys(table.rows);
const unknown = wanted.filter((name) => table.rows[name] === undefined);
if (unknown.length > 0) throw new Error(`no ${unknown.join(', ')} among: ${Object.keys(table.rows).join(', ')}`);

/** The names of step.mjs for its peers. */
const names = { compile: 'torch.compile', 'reduce-overhead': 'reduce-overhead' };
const called = (name) => {
  const [, mode = '', more = ''] = name.match(/^PyTorch (\S+?), (?:sdpa|(.*))$/) ?? [];
  return `${names[mode] ?? `PyTorch ${mode}`}${more === '' ? '' : `, ${more}`}`;
};

function measure(name) {
  const { label, perRun = 1, compile = [], dtype = 'float32', attention = true } = table.rows[name];
  const [workload] = name.split(' ');
  const folder = join(values.models, workload);
  workloadFolder(values.python, workload, folder);
  const work = mkdtempSync(join(tmpdir(), 'table-'));
  const json = join(work, 'step.json');
  const options = ['--python', values.python, '--ep', table.ep, '--peers', values.peers ?? table.peers, '--json', json];
  const numbers = ['--rounds', values.rounds, '--steps', values.steps, '--threads', values.threads, '--dtype', dtype];
  const args = [
    workload,
    folder,
    ...options,
    ...numbers,
    '--per-run',
    String(perRun),
    '--',
    '--for',
    table.ep,
    ...compile,
  ];
  try {
    execFileSync(process.execPath, [join(import.meta.dirname, 'step.mjs'), ...args], { stdio: ['ignore', 2, 2] });
    const { measured, off, versions } = JSON.parse(readFileSync(json, 'utf8'));
    const [own, ...all] = measured;
    const peers = all.filter((p) => p.ms.length > 0 && (attention || !p.name.includes('attention')));
    const by = (value) => Object.fromEntries(peers.map((p) => [called(p.name), value(p)]));
    return {
      workload: perRun > 1 ? `${label}, ${perRun} steps a run` : label,
      loraify: own.ms,
      peers: by((p) => p.ms),
      mib: { loraify: own.mib, ...by((p) => p.mib) },
      off: Number(off.toPrecision(2)),
      versions,
    };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

const before =
  values.out !== undefined && existsSync(values.out) ? JSON.parse(readFileSync(values.out, 'utf8')) : { rows: [] };
const rows = new Map(before.rows.map((r) => [r.workload, r]));
let { versions } = before;
for (const name of wanted) {
  const { versions: used, ...row } = measure(name);
  versions = used;
  rows.set(row.workload, row);
  // One row per line, so that a diff is legible.
  const text = [...rows.values()].map((r) => `  ${JSON.stringify(r)}`).join(',\n');
  const head = JSON.stringify({ title: table.title, versions }).slice(0, -1);
  if (values.out !== undefined) writeFileSync(values.out, `${head}, "rows": [\n${text}\n]}\n`);
}
const peers = [...new Set([...rows.values()].flatMap((r) => Object.keys(r.peers)))];
const ms = (list) => (list === undefined ? '' : list.map((x) => (x < 10 ? x.toFixed(2) : x.toFixed(1))).join(', '));
markdown(
  [
    'workload',
    'loraify, ms by round',
    ...peers.flatMap((p) => [`${p}, ms`, 'ratio']),
    'MiB, loraify / peers',
    'losses differ by',
  ],
  [...rows.values()].map((r) => [
    r.workload,
    ms(r.loraify),
    ...peers.flatMap((p) => {
      const theirs = r.peers[p];
      return theirs === undefined ? ['', ''] : [ms(theirs), (median(r.loraify) / median(theirs)).toFixed(2)];
    }),
    Object.values(r.mib ?? {}).join(' / '),
    r.off?.toExponential(0) ?? '',
  ]),
);
console.log(
  `\n${Object.entries(versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(', ')}`,
);
