/**
 * Training steps of a package from a given adapter, equal to those of peers/torch_step.py: the benchmarks time and
 * compare them.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tensor } from 'onnxruntime-node';
import { readManifest } from '../dist/formats/manifest.js';
import { readNpz } from '../dist/formats/npz.js';
import { elements } from '../dist/formats/rawTensor.js';
import { adapterParams } from '../dist/package/adapters.js';
import { openSession } from '../dist/runtime/session/session.js';
import { median } from './common.mjs';

const types = { F32: 'float32', I64: 'int64', I32: 'int32', BOOL: 'bool' };

/** The batches of a file, by input: arrays `b0/<input>`, `b1/<input>` …, or one batch under plain names. */
export function readBatches(file) {
  const batches = [];
  for (const [key, t] of readNpz(file)) {
    const [, i = '0', name = key] = key.match(/^b(\d+)\/(.*)$/) ?? [];
    batches[i] = { ...batches[i], [name]: new Tensor(types[t.dtype], elements(t), t.shape) };
  }
  return batches;
}

/**
 * Losses of all steps, and medians of those after the first `untimed`. `perRun` steps are one run of train_k.onnx. With
 * `profile` the peak is the runtime's own memory in use, else that of the process.
 */
export async function takeSteps(folder, options) {
  const { batches, adapter, steps, rate, ep = 'cpu', threads, perRun = 1, untimed = 5, profile = false } = options;
  const manifest = readManifest(folder);
  const { state, optimizer, names, graphs } = manifest;
  const file = join(folder, perRun > 1 ? graphs.train_k : graphs.train);
  const prefix = join(folder, 'profile');
  const session = await openSession(file, {
    provider: ep,
    threads: ep === 'cpu' ? threads : undefined,
    ...(profile ? { profile: prefix } : {}),
  });
  const known = new Set(session.inputNames);
  const vector = (data) => new Tensor('float32', data, [data.length]);
  const scalar = (x) => new Tensor('float32', Float32Array.of(x), []);
  const repeated = (Type, type, value) => new Tensor(type, new Type(perRun).fill(value), [perRun]);
  const zeros = () => vector(new Float32Array(state.size));
  let now = {
    [state.params[0]]: vector(adapterParams(folder, manifest, adapter === undefined ? {} : { adapter })),
    [state.m[0]]: zeros(),
    [state.v[0]]: zeros(),
    [state.step[0]]: scalar(0),
    ...(state.lossScale ? { [state.lossScale[0]]: scalar(optimizer.lossScale.initial) } : {}),
  };
  const many = perRun > 1;
  const settings = {
    [state.lr]: many ? repeated(Float32Array, 'float32', rate) : scalar(rate),
    ...(many ? { [names.apply]: repeated(Uint8Array, 'bool', 1) } : {}),
  };
  const [times, cpu, losses] = [[], [], []];
  for (let done = 0; done < steps; done += perRun) {
    const taken = Array.from({ length: perRun }, (_, k) => batches[(done + k) % batches.length]);
    const inputs = Object.keys(taken[0]).filter((name) => known.has(name));
    const feeds = inputs.map((name) => [name, many ? stacked(taken.map((b) => b[name])) : taken[0][name]]);
    const [start, used] = [performance.now(), process.cpuUsage()];
    const out = await session.run({ ...Object.fromEntries(feeds), ...now, ...settings });
    now = Object.fromEntries(Object.keys(now).map((name) => [name, out[`${name}_next`]]));
    losses.push(...out[names.loss].data);
    times.push((performance.now() - start) / perRun);
    const { user, system } = process.cpuUsage(used);
    cpu.push((user + system) / 1000 / perRun);
  }
  await session.release();
  // The first runs of several steps allocate memory and load kernels.
  const timed = Math.min(Math.max(Math.ceil(untimed / perRun), many ? 2 : 0), times.length - 1);
  return {
    losses: losses.slice(0, steps),
    median_ms: median(times.slice(timed)),
    cpu_ms: median(cpu.slice(timed)),
    peak_mib: profile ? peakInUse(folder) : process.resourceUsage().maxRSS / 1024,
    taken: now[state.step[0]].data[0],
  };
}

/** Equal shapes are stacked to one tensor with a leading axis. */
function stacked(tensors) {
  const [{ type, dims, data }] = tensors;
  const all = new data.constructor(data.length * tensors.length);
  for (const [k, t] of tensors.entries()) all.set(t.data, k * data.length);
  return new Tensor(type, all, [tensors.length, ...dims]);
}

/** The runtime's own peak of memory in use, in MiB: an upper bound over its allocators. */
function peakInUse(folder) {
  const file = readdirSync(folder).find((f) => f.startsWith('profile'));
  if (file === undefined) return Number.NaN;
  const numbers = readFileSync(join(folder, file), 'utf8').matchAll(/"mem_in_use_peak"\s*:\s*"?(\d+)/g);
  let most = Number.NaN;
  for (const [, bytes] of numbers) if (!(Number(bytes) <= most)) most = Number(bytes);
  return most / 2 ** 20;
}
