/** What a head computes, in plain loops over the values that it reads. */
import { Tensor } from 'onnxruntime-node';
import { expect } from 'vitest';
import { cloneModel } from '../../src/graph/clone.ts';
import type { Model } from '../../src/graph/model.ts';
import { numbersOf } from '../../src/graph/tensor.ts';
import { valueNamed } from '../../src/passes/head/addHead.ts';
import type { HeadPlan } from '../../src/passes/head/plan.ts';
import { distance, run } from './executeGraphs.ts';
import { type Feeds, randomFeeds } from './graphFeeds.ts';
import { roundingOf, wide } from './halfTypes.ts';
import type { Around } from './passCases.ts';

/** The outputs of a model after a pass of the stage `head`: values of the model before, and the head on one of them. */
export async function checkHead({ before, after }: Around, plan: HeadPlan): Promise<void> {
  const feeds = withPadding(randomFeeds(before.graph.inputs), plan);
  const found = await run(after, feeds);
  const names = after.graph.outputs.map((o) => o.name);
  expect(Object.keys(found)).toEqual(names);
  for (const name of names) {
    const same = valueNamed(before.graph, name);
    const [value] = await outputs(before, [same === undefined ? plan.input : name], feeds);
    if (value === undefined) throw new Error(`no value for "${name}"`);
    const expected = same === undefined ? headOn(value, feeds, plan, after) : wide(value);
    expect(found[name]?.dims).toEqual(same === undefined ? dimsOf(value, plan) : value.dims);
    expect(distance(wide(found[name]), expected), name).toBeLessThan(roundingOf(before) ?? 1e-6);
  }
}

async function outputs(model: Model, names: readonly string[], feeds: Feeds): Promise<(Tensor | undefined)[]> {
  const { model: copy } = cloneModel(model);
  copy.graph.outputs.splice(0, copy.graph.outputs.length);
  for (const name of names) copy.graph.outputs.push(...[valueNamed(copy.graph, name)].filter((v) => v !== undefined));
  const found = await run(copy, feeds);
  return names.map((name) => found[name]);
}

/** Rows with padding on the right, on the left, and in the middle. */
function withPadding(feeds: Feeds, { mask }: HeadPlan): Feeds {
  const given = mask === undefined ? undefined : feeds[mask];
  if (mask === undefined || given === undefined) return feeds;
  const [rows = 1, length = 1] = given.dims;
  const bits = Array.from({ length: rows * length }, (_, i) => {
    const [row, at] = [Math.floor(i / length), i % length];
    return row % 2 === 0 ? at < length - 1 || length === 1 : at % 2 === 0;
  });
  const data =
    given.type === 'bool' ? Uint8Array.from(bits, Number) : BigInt64Array.from(bits, (b) => BigInt(Number(b)));
  return { ...feeds, [mask]: new Tensor(given.type === 'bool' ? 'bool' : 'int64', data, given.dims) };
}

const dimsOf = ({ dims }: Tensor, { pooling, linear, width }: HeadPlan): readonly number[] => {
  const lead = pooling !== undefined ? dims.slice(0, 1) : dims.slice(0, -1);
  return [...lead, linear?.size ?? width];
};

function headOn(states: Tensor, feeds: Feeds, plan: HeadPlan, after: Model): Float32Array {
  const { linear, normalize, width } = plan;
  const vectors = poolRows(states, plan.mask === undefined ? undefined : feeds[plan.mask], plan);
  const parameter = (leaf: string): number[] => {
    const tensor = after.graph.initializers.find((v) => v.name === `${linear?.path}.${leaf}`)?.tensor;
    return tensor === undefined ? [] : (numbersOf(tensor) ?? []).map(Number);
  };
  const [weight, bias] = [parameter('weight'), parameter('bias')];
  const mapped = vectors.map((x) =>
    linear === undefined
      ? x
      : Array.from({ length: linear.size }, (_, o) =>
          x.reduce((sum, xi, i) => sum + xi * (weight[o * width + i] ?? 0), bias[o] ?? 0),
        ),
  );
  const results = normalize ? mapped.map((x) => x.map((xi) => xi / Math.max(Math.hypot(...x), 1e-12))) : mapped;
  return Float32Array.from(results.flat());
}

/** A vector for each row, or for each position of it. */
function poolRows(states: Tensor, mask: Tensor | undefined, { pooling, rank, width, cached }: HeadPlan): number[][] {
  const values = wide(states);
  const [rows = 1] = states.dims;
  const count = values.length / rows / width;
  const at = (row: number, position: number): number[] =>
    Array.from({ length: width }, (_, i) =>
      Number(rank === 4 ? values[(row * width + i) * count + position] : values[(row * count + position) * width + i]),
    );
  const all = [...Array(count).keys()];
  if (pooling === undefined) return [...Array(rows).keys()].flatMap((row) => all.map((p) => at(row, p)));
  const length = mask?.dims[1] ?? count;
  const isToken = (row: number, p: number): boolean =>
    mask === undefined || Number(mask.data[row * length + p + (cached === true ? length - count : 0)]) === 1;
  return [...Array(rows).keys()].map((row) => {
    const counted = all.filter((p) => isToken(row, p)).map((p) => at(row, p));
    const over = (f: (xs: number[]) => number): number[] =>
      Array.from({ length: width }, (_, i) => f(counted.map((x) => x[i] ?? Number.NaN)));
    const by = {
      cls: () => at(row, 0),
      last: () => counted.at(-1) ?? [],
      mean: () => over((xs) => xs.reduce((a, b) => a + b, 0) / xs.length),
      max: () => over((xs) => Math.max(...xs)),
    };
    return by[pooling]();
  });
}
