/**
 * Structure-aware mutation of models: edits fields, nodes, shapes, attributes and external data of small valid models,
 * compiles each mutant, and opens every graph of the package in ONNX Runtime.
 *
 *     node scripts/mutate-models.mjs [--minutes 10] [--seed 1] [--only SEED:INDEX] [--keep FOLDER] MODEL.onnx...
 *
 * A mutant must compile or be refused with a code, in 20 seconds and 1.5 GB; if ONNX Runtime loads the mutant itself,
 * it must load every graph of its package. What breaks this is printed with its seed and kept in FOLDER.
 * Run `npm run build` first.
 */
import { fork } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import proto from 'onnx-proto';

const { values: options, positionals: models } = parseArgs({
  allowPositionals: true,
  options: {
    minutes: { type: 'string', default: '10' },
    seed: { type: 'string', default: '1' },
    only: { type: 'string' },
    keep: { type: 'string', default: join(tmpdir(), 'mutants') },
    child: { type: 'boolean', default: false },
  },
});

/** Uniform numbers in [0, 1) (mulberry32). */
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const { onnx } = proto;

const numbers = [-1, 0, 1, 2, 3, 5, 7, 64, 2 ** 31 - 1, -(2 ** 31), 2 ** 40];
const ops =
  'Add Mul MatMul Gemm Relu Softmax Sigmoid Reshape Transpose Concat Slice Gather Cast Identity Shape Squeeze Unsqueeze ReduceMean Where Split Expand Conv LayerNormalization Constant If Loop Scan ArgMax TopK NonZero Range LSTM Einsum Pad Dropout DequantizeLinear NoSuchOp'.split(
    ' ',
  );

/** The edits; each changes a ModelProto in place. */
const edits = {
  dim(m, pick) {
    const v = pick([...m.graph.input, ...m.graph.output, ...m.graph.valueInfo]);
    const dims = v?.type?.tensorType?.shape?.dim ?? [];
    const d = pick(dims);
    if (d === undefined) return;
    const kind = pick(['number', 'symbol', 'empty', 'drop', 'more']);
    if (kind === 'number') dims[dims.indexOf(d)] = { dimValue: pick(numbers) };
    else if (kind === 'symbol') dims[dims.indexOf(d)] = { dimParam: pick(['N', '?', 'batch', '', 'a*b', '-1', 'seq']) };
    else if (kind === 'empty') dims[dims.indexOf(d)] = {};
    else if (kind === 'drop') dims.splice(dims.indexOf(d), 1);
    else dims.push({ dimValue: pick(numbers) });
  },
  shapeless(m, pick) {
    const v = pick([...m.graph.input, ...m.graph.output, ...m.graph.valueInfo]);
    if (v?.type?.tensorType) v.type.tensorType.shape = null;
  },
  dtype(m, pick) {
    const v = pick([...m.graph.input, ...m.graph.output, ...m.graph.valueInfo]);
    if (v?.type?.tensorType) v.type.tensorType.elemType = pick([0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 16, 99]);
  },
  initializerDims(m, pick) {
    const t = pick(m.graph.initializer);
    if (t === undefined) return;
    if (pick([true, false])) t.dims = [...t.dims].reverse();
    else t.dims = [...t.dims, pick(numbers)];
  },
  initializerType(m, pick) {
    const t = pick(m.graph.initializer);
    if (t !== undefined) t.dataType = pick([1, 2, 3, 6, 7, 8, 9, 10, 11, 16, 22]);
  },
  initializerExternal(m, pick) {
    const t = pick(m.graph.initializer);
    if (t === undefined) return;
    t.dataLocation = 1;
    t.externalData = [
      { key: 'location', value: pick(['w.bin', '../w.bin', '/etc/passwd', '', 'a/../w.bin', './w.bin']) },
      { key: 'offset', value: String(pick(numbers)) },
      { key: 'length', value: String(pick(numbers)) },
    ];
  },
  op(m, pick) {
    const n = pick(m.graph.node);
    if (n !== undefined) n.opType = pick(ops);
  },
  domain(m, pick) {
    const n = pick(m.graph.node);
    if (n !== undefined) n.domain = pick(['', 'com.microsoft', 'ai.onnx.ml', 'my.domain', 'ai.onnx']);
  },
  swapInputs(m, pick) {
    const n = pick(m.graph.node);
    n?.input?.reverse();
  },
  rewire(m, pick) {
    const n = pick(m.graph.node);
    const names = [...m.graph.node.flatMap((o) => o.output), ...m.graph.input.map((i) => i.name), '', 'nowhere'];
    if (n?.input?.length > 0) n.input[n.input.indexOf(pick(n.input))] = pick(names);
  },
  dropInput(m, pick) {
    pick(m.graph.node)?.input?.pop();
  },
  moreInputs(m, pick) {
    const n = pick(m.graph.node);
    if (n?.input?.length > 0) n.input.push(pick(n.input));
  },
  dropNode(m, pick) {
    const n = pick(m.graph.node);
    m.graph.node.splice(m.graph.node.indexOf(n), 1);
  },
  copyNode(m, pick) {
    const n = pick(m.graph.node);
    if (n !== undefined) m.graph.node.push(pick([n, { ...n, output: n.output.map((o) => `${o}_copy`) }]));
  },
  order(m, pick) {
    const n = pick(m.graph.node);
    if (n === undefined) return;
    m.graph.node.splice(m.graph.node.indexOf(n), 1);
    m.graph.node.unshift(n);
  },
  rename(m, pick) {
    const n = pick(m.graph.node);
    const names = m.graph.node.flatMap((o) => o.output);
    if (n?.output?.length > 0) n.output[0] = pick([...names, 'x', 'labels', 'lora_params', '']);
  },
  attribute(m, pick) {
    const a = pick(m.graph.node.flatMap((n) => n.attribute ?? []));
    if (a === undefined) return;
    const kind = pick(['i', 'ints', 'f', 'type', 'drop', 'name']);
    if (kind === 'i') a.i = pick(numbers);
    else if (kind === 'ints') a.ints = [pick(numbers), pick(numbers)];
    else if (kind === 'f') a.f = pick([0, -1, Number.NaN, 1e38]);
    else if (kind === 'type') a.type = pick([0, 1, 2, 3, 4, 5, 7, 99]);
    else if (kind === 'name') a.name = pick(['axis', 'axes', 'perm', 'to', 'nothing', '']);
    else for (const n of m.graph.node) n.attribute = (n.attribute ?? []).filter((b) => b !== a);
  },
  opset(m, pick) {
    const o = pick(m.opsetImport);
    if (o !== undefined) o.version = pick([1, 7, 9, 11, 13, 17, 18, 21, 24, 26, 99]);
  },
  noOpset(m) {
    m.opsetImport = m.opsetImport.slice(1);
  },
  output(m, pick) {
    const names = m.graph.node.flatMap((o) => o.output);
    const o = pick(m.graph.output);
    if (o !== undefined) o.name = pick([...names, 'nowhere']);
  },
  outputs(m, pick) {
    const names = m.graph.node.flatMap((o) => o.output);
    m.graph.output.push({ name: pick(names) });
  },
  input(m, pick) {
    const i = pick(m.graph.input);
    if (pick([true, false])) m.graph.input.splice(m.graph.input.indexOf(i), 1);
    else if (i !== undefined) m.graph.input.push(pick([i, { ...i, name: `${i.name}_2` }]));
  },
  initializerGone(m, pick) {
    const t = pick(m.graph.initializer);
    if (t === undefined) return;
    m.graph.initializer.splice(m.graph.initializer.indexOf(t), 1);
    if (pick([true, false]))
      m.graph.input.push({
        name: t.name,
        type: { tensorType: { elemType: t.dataType, shape: { dim: t.dims.map((d) => ({ dimValue: d })) } } },
      });
  },
  initializerTwice(m, pick) {
    const t = pick(m.graph.initializer);
    if (t !== undefined) m.graph.initializer.push(t);
  },
  subgraph(m, pick) {
    const n = pick(m.graph.node);
    if (n !== undefined)
      n.attribute = [
        ...(n.attribute ?? []),
        { name: pick(['body', 'then_branch', 'else_branch']), type: 5, g: m.graph },
      ];
  },
};

function mutant(bytes, seed) {
  const next = random(seed);
  const pick = (list) => list[Math.floor(next() * list.length)];
  const m = onnx.ModelProto.decode(bytes);
  const count = 1 + Math.floor(next() * 3);
  const done = [];
  for (let i = 0; i < count; i++) {
    const name = pick(Object.keys(edits));
    edits[name](m, pick);
    done.push(name);
  }
  return { bytes: onnx.ModelProto.encode(m).finish(), done };
}

/** Compiles what the parent sends, and answers with a finding or nothing. */
async function child() {
  const [{ compile }, { default: ort }] = await Promise.all([import('../dist/index.js'), import('onnxruntime-node')]);
  const quiet = { logSeverityLevel: 4, graphOptimizationLevel: 'disabled' };
  const loads = async (file) => {
    try {
      await (await ort.InferenceSession.create(file, quiet)).release();
      return undefined;
    } catch (error) {
      return error.message.slice(0, 300);
    }
  };
  process.on('message', async ({ file, scratch }) => {
    const out = join(scratch, 'p.lora');
    rmSync(out, { recursive: true, force: true });
    let finding;
    let outcome = 'compiled';
    try {
      const { manifest } = await compile(file, { out, rank: 2 });
      process.send({ stage: 'source' });
      const source = await loads(file);
      process.send({ stage: 'graphs' });
      outcome = source === undefined ? 'compiled, loads' : 'compiled, source refused by ONNX Runtime';
      if (source === undefined)
        for (const graph of Object.values(manifest.graphs)) {
          const reason = await loads(join(out, graph));
          if (reason !== undefined) finding = `${graph} does not load: ${reason}`;
        }
    } catch (error) {
      outcome = error.code ?? 'crash';
      if (error.code === undefined || error.code === 'INTERNAL') finding = error.stack?.slice(0, 700) ?? String(error);
    }
    const rss = process.resourceUsage().maxRSS / 1024;
    process.send({ finding: finding ?? (rss > 1500 ? `${rss.toFixed(0)} MB` : undefined), outcome });
  });
}

/** One child at a time; it is replaced if it hangs, dies, or after many mutants. */
function runner() {
  let process_;
  let served = 0;
  const start = () => {
    served = 0;
    return fork(fileURLToPath(import.meta.url), ['--child'], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
  };
  return {
    run: (message) =>
      new Promise((resolve) => {
        if (process_ === undefined || served++ > 300) {
          process_?.kill();
          process_ = start();
        }
        const worker = process_;
        const finish = (answer) => {
          clearTimeout(timer);
          worker.removeAllListeners();
          if (answer.gone) {
            worker.kill('SIGKILL');
            process_ = undefined;
          }
          resolve(answer);
        };
        let stage = 'compile';
        const timer = setTimeout(() => finish({ finding: 'no answer in 20 s', outcome: 'hang', gone: true }), 20_000);
        worker.on('message', (answer) => {
          if (answer.stage === undefined) finish(answer);
          else stage = answer.stage;
        });
        // ONNX Runtime ends the process on some invalid models.
        worker.once('exit', (code, signal) =>
          finish(
            stage === 'source'
              ? { outcome: 'compiled, source ends ONNX Runtime', gone: true }
              : { finding: `the process ended (${code ?? signal}) in stage ${stage}`, outcome: 'death', gone: true },
          ),
        );
        worker.send(message);
      }),
    stop: () => process_?.kill(),
  };
}

async function parent() {
  const scratch = mkdtempSync(join(tmpdir(), 'mutants-'));
  const { run, stop } = runner();
  const outcomes = {};
  const findings = new Map();
  const end = Date.now() + Number(options.minutes) * 60_000;
  const first = Number(options.seed);
  for (let i = 0; Date.now() < end; i++) {
    const model = models[i % models.length];
    const seed = first * 1_000_003 + i;
    if (options.only !== undefined && options.only !== `${first}:${i}`) {
      if (i > Number(options.only.split(':')[1])) break;
      continue;
    }
    let made;
    try {
      made = mutant(readFileSync(model), seed);
    } catch {
      continue; // An edit that cannot be encoded.
    }
    const file = join(scratch, 'model.onnx');
    writeFileSync(file, made.bytes);
    const { finding, outcome } = await run({ file, scratch });
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    if (finding === undefined) continue;
    const key = finding.replace(/"[^"]*"|\d+/g, '').slice(0, 160);
    findings.set(key, (findings.get(key) ?? 0) + 1);
    if (findings.get(key) > 1) continue;
    mkdirSync(options.keep, { recursive: true });
    writeFileSync(join(options.keep, `${first}-${i}-${basename(model)}`), made.bytes);
    console.log(`${first}:${i} ${basename(model)} (${made.done.join(', ')}): ${finding}\n`);
  }
  stop();
  rmSync(scratch, { recursive: true, force: true });
  console.log(outcomes, `${findings.size} kinds of findings`);
  process.exitCode = findings.size === 0 ? 0 : 1;
}

await (options.child ? child() : parent());
