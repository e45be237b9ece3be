/**
 * Compiles the export packs that make.py made and compares loss, gradients and module paths with those of PyTorch + PEFT.
 *
 *     node bench/exports/check.mjs FOLDER [--json FILE] [--only NAME,…] [--fast]
 *
 * A pack is right if its adapter fits, loss and gradients of grad.onnx agree (also those of --for cpu), five steps of
 * train.onnx lower the loss, the module paths of a compile without an adapter are PEFT's, and `auto` chooses its loss.
 * --fast leaves out the steps and --for cpu. Run `npm run build` first.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import ort from 'onnxruntime-node';
import { readPeft } from '../../dist/adapter/index.js';
import { readNpz } from '../../dist/formats/npz.js';
import { elements, toFloat32 } from '../../dist/formats/rawTensor.js';
import { openSafetensors } from '../../dist/formats/safetensors.js';
import { compile } from '../../dist/index.js';
import { markdown } from '../common.mjs';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'string' }, only: { type: 'string' }, fast: { type: 'boolean', default: false } },
});
const [root] = positionals;
if (root === undefined) throw new Error('usage: node bench/exports/check.mjs FOLDER');

const types = { F32: 'float32', I64: 'int64', I32: 'int32', BOOL: 'bool', F64: 'float64' };
const norm = (xs) => Math.hypot(...xs);
const difference = (a, b) => norm(a.map((x, i) => x - b[i]));
const transposed = (t, rows, columns) =>
  Float32Array.from({ length: t.length }, (_, i) => t[(i % rows) * columns + Math.floor(i / rows)]);

/** The loss options of a compile. */
function lossOptions({ loss, output }) {
  if (loss === 'segmentation') return { loss: 'cross-entropy', classAxis: 1, lossOutput: output };
  return { loss, lossOutput: output };
}

function tensorOf(t) {
  const type = types[t.dtype];
  if (type === undefined) throw new Error(`a batch of ${t.dtype}`);
  return new ort.Tensor(type, elements(t), t.shape);
}

/** The flat vector of the state, from PEFT's tensors by path. */
function flat(manifest, of) {
  const vector = new Float32Array(manifest.state.size);
  for (const layer of manifest.layers) for (const part of ['A', 'B']) vector.set(of(layer, part), layer[part].offset);
  return vector;
}

const sessionOf = (dir, file) =>
  ort.InferenceSession.create(join(dir, file), { logSeverityLevel: 3, intraOpNumThreads: 1 });
const vector = (data) => new ort.Tensor('float32', data, [data.length]);
const scalar = (x) => new ort.Tensor('float32', Float32Array.of(x), []);
const only = (session, feeds) =>
  Object.fromEntries(Object.entries(feeds).filter(([k]) => session.inputNames.includes(k)));

/** Loss and gradient of a package against the pack's. */
async function gradient(dir, manifest, batch, initial, theirs) {
  const session = await sessionOf(dir, manifest.graphs.grad);
  const out = await session.run(only(session, { ...batch, lora_params: vector(initial), lora_loss_scale: scalar(1) }));
  const ours = out.lora_grad.data;
  const want = flat(manifest, theirs);
  await session.release();
  let worst = 0;
  for (const layer of manifest.layers)
    for (const part of ['A', 'B']) {
      const [from, length] = [layer[part].offset, layer[part].shape.reduce((a, b) => a * b, 1)];
      const [a, b] = [ours.slice(from, from + length), want.slice(from, from + length)];
      worst = Math.max(worst, difference(a, b) / (norm(b) + 1e-3 * norm(want)));
    }
  return { loss: out.loss.data[0], error: difference(ours, want) / norm(want), worst };
}

async function steps(dir, manifest, batch, initial) {
  const session = await sessionOf(dir, manifest.graphs.train);
  const zeros = () => vector(new Float32Array(initial.length));
  let state = { lora_params: vector(initial), lora_m: zeros(), lora_v: zeros(), lora_step: scalar(0) };
  const losses = [];
  for (let i = 0; i < 6; i++) {
    const out = await session.run(only(session, { ...batch, ...state, lora_lr: scalar(2e-3) }));
    losses.push(out.loss.data[0]);
    state = Object.fromEntries(Object.keys(state).map((k) => [k, out[`${k}_next`]]));
  }
  await session.release();
  return losses;
}

async function check(folder, expected, scratch) {
  const model = join(folder, 'model.onnx');
  const common = { force: true, maxGradNorm: 0 };
  const wrong = [];
  // A compile without options.
  const plain = await compile(model, {
    ...common,
    ...(expected.convolutions || expected.packed ? { target: expected.paths } : {}),
    out: join(scratch, 'plain.lora'),
  });
  const found = new Set(plain.manifest.layers.map((l) => l.path));
  const missing = expected.paths.filter((p) => !found.has(p));
  if (missing.length > 0) wrong.push(`paths ${missing.length}/${expected.paths.length}: ${missing[0]}`);
  const { kind, classAxis } = plain.manifest.loss;
  const chosen =
    kind === 'cross-entropy' && classAxis === 1 && expected.auto === 'segmentation' ? 'segmentation' : kind;
  if (chosen !== expected.auto) wrong.push(`auto ${chosen}`);
  // A compile with PEFT's adapter.
  const out = join(scratch, 'adapter.lora');
  const adapted = { ...common, ...lossOptions(expected), adapter: join(folder, 'adapter') };
  const { manifest } = await compile(model, { ...adapted, out });
  const peft = readPeft(join(folder, 'adapter'));
  const initial = flat(manifest, (layer, part) => peft.tensors.get(layer.path)?.[part] ?? []);
  const branches = manifest.layers.length;
  const unknown = manifest.layers.find((l) => !peft.tensors.has(l.path));
  if (unknown !== undefined) throw new Error(`the layer ${unknown.path} is not PEFT's`);
  if (branches !== peft.tensors.size) wrong.push(`branches ${branches} of ${peft.tensors.size}`);
  const file = openSafetensors(join(folder, 'grads.safetensors'));
  const theirs = (layer, part) => {
    const stored = file.read(`base_model.model.${layer.path}.lora_${part}.weight`);
    const [rows, columns] = layer[part].shape;
    // The loss does not depend on the layer: torch has no gradient then.
    if (stored === undefined) return new Float32Array(rows * columns);
    // The state has linear layers transposed, and convolutions as they are.
    if (layer.kernel !== undefined) return toFloat32(stored);
    return transposed(toFloat32(stored), columns, rows);
  };
  const batch = Object.fromEntries([...readNpz(join(folder, 'batch.npz'))].map(([k, t]) => [k, tensorOf(t)]));
  const result = await gradient(out, manifest, batch, initial, theirs);
  const compare = ({ loss, error, worst }, name) => {
    // Files that a tool rounded have a wider tolerance.
    const wider = expected.tolerance / 1e-4;
    if (!(Math.abs(loss - expected.value) <= 1e-4 * Math.max(1, wider / 10) * Math.abs(expected.value)))
      wrong.push(`${name}loss ${loss} for ${expected.value}`);
    if (!(error <= expected.tolerance)) wrong.push(`${name}gradient ${error.toExponential(1)}`);
    if (!(worst <= 2e-3 * Math.max(1, wider / 10))) wrong.push(`${name}worst layer ${worst.toExponential(1)}`);
  };
  compare(result, '');
  if (!options.fast) {
    const losses = await steps(out, manifest, batch, initial);
    if (!(losses.at(-1) < losses[0])) wrong.push(`steps ${losses.map((x) => x.toFixed(4)).join(' ')}`);
    const cpu = join(scratch, 'cpu.lora');
    const { manifest: forCpu } = await compile(model, { ...adapted, for: 'cpu', out: cpu });
    compare(await gradient(cpu, forCpu, batch, initial, theirs), 'cpu ');
  }
  file.close();
  return { error: result.error, extra: plain.manifest.layers.length - expected.paths.length + missing.length, wrong };
}

const names = readdirSync(root, { withFileTypes: true })
  .filter((e) => e.isDirectory())
  .map((e) => e.name)
  .sort()
  .filter((n) => options.only === undefined || options.only.split(',').includes(n));
const rows = [];
for (const name of names) {
  const folder = join(root, name);
  const expected = JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8'));
  if (expected.unusable !== undefined) {
    rows.push({ name, unusable: expected.unusable });
    continue;
  }
  const scratch = mkdtempSync(join(tmpdir(), 'exports-'));
  const begun = performance.now();
  try {
    rows.push({ name, ...(await check(folder, expected, scratch)), seconds: (performance.now() - begun) / 1000 });
  } catch (error) {
    rows.push({ name, wrong: [error.code === undefined ? `CRASH ${error.stack}` : `${error.code}: ${error.message}`] });
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  const row = rows.at(-1);
  if (row.wrong?.length > 0) console.error(`${name}: ${row.wrong.join('; ').slice(0, 400)}`);
}
const usable = rows.filter((r) => r.unusable === undefined);
const right = usable.filter((r) => r.wrong.length === 0);
if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(rows, undefined, 1)}\n`);
markdown(
  ['file', 'gradient error', 'result'],
  usable.map((r) => [
    r.name,
    r.error?.toExponential(1) ?? '-',
    r.wrong.length === 0 ? `right${r.extra > 0 ? `, ${r.extra} more layers` : ''}` : r.wrong.join('; ').slice(0, 160),
  ]),
);
console.log(`\n${right.length} of ${usable.length} usable files right (${rows.length - usable.length} not usable)`);
process.exitCode = right.length === usable.length ? 0 : 1;
