/** The model's outputs row by row: only rows of one shape share a batch, so no row is padded. */

import { badData } from '../../errors.ts';
import { openShape, reportsLoss } from '../../formats/manifest.ts';
import { type Data, openRows, type RowOptions } from '../batches/openRows.ts';
import { type ElementType, isElementType, newArray } from '../data/convert.ts';
import { type BatchTensor, batch, type Dataset } from '../data/index.ts';
import type { Engine } from '../worker/engine.ts';
import type { Feeds } from '../worker/protocol.ts';

export interface Prediction {
  /** Names of the outputs, in the model's order. */
  readonly outputs: readonly string[];
  /** Outputs of text, and those without an axis that counts rows; they are left out. */
  readonly leftOut: readonly string[];
  readonly rows: number;
  /** The outputs of row 0 .. rows - 1, without the axis of rows. */
  row(index: number): Readonly<Record<string, BatchTensor>>;
}

export interface PredictOptions extends RowOptions {
  readonly onProgress?: ((rows: number) => void) | undefined;
}

/** Predicts without reading labels in the data. Errors: those of opening the data and of the engine. */
export async function predict(engine: Engine, data: Data, options: PredictOptions): Promise<Prediction> {
  const { manifest } = engine;
  const { outputs } = await engine.describe('eval');
  const own = new Set([manifest.names.weight, ...(reportsLoss(manifest.loss) ? [manifest.names.loss] : [])]);
  const wanted = outputs.filter(({ name }) => !own.has(name));
  const names = wanted.filter(({ type }) => isElementType(type)).map(({ name }) => name);
  const rows = await openRows(engine, 'eval', data, { ...options, withLabels: false });
  const results: Readonly<Record<string, BatchTensor>>[] = [];
  const leftOut = new Set(wanted.filter(({ type }) => !isElementType(type)).map(({ name }) => name));
  const axes = new Map(manifest.outputs?.map((o) => [o.name, o.batchAxis]));
  const axisOf = (name: string): number | null => axes.get(name) ?? (axes.has(name) ? null : 0);
  try {
    const { dataset, batchSize, fixedBatch } = rows;
    for (const group of groups(dataset, batchSize)) {
      // A batch of fixed size is padded with its last row.
      const fill = fixedBatch ? batchSize - group.length : 0;
      const all = [...group, ...Array.from({ length: fill }, () => group.at(-1) ?? 0)];
      const feeds = batch(dataset, all, rows.batch);
      const { outputs: found } = await engine.evaluate(withLabels(engine, feeds), names);
      for (const name of names)
        if (rows.oneByOne === undefined && found[name]?.dims[axisOf(name) ?? -1] !== all.length) leftOut.add(name);
      for (const i of group.keys()) {
        results.push(
          Object.fromEntries(names.flatMap((n) => (leftOut.has(n) ? [] : [[n, rowOf(found[n], i, axisOf(n))]]))),
        );
      }
      options.onProgress?.(results.length);
    }
  } finally {
    rows.close();
  }
  const kept = names.filter((name) => !leftOut.has(name));
  if (kept.length === 0) throw badData('no output of the model has one entry per row');
  return {
    outputs: kept,
    leftOut: [...leftOut],
    rows: results.length,
    row: (index) => results[index] ?? {},
  };
}

/** Neighbouring rows with equal shapes, at most `size`. */
function* groups(dataset: Dataset, size: number): Generator<number[]> {
  let group: number[] = [];
  let shape = '';
  for (let i = 0; i < dataset.rows; i++) {
    const row = dataset.row(i);
    // Values without a batch axis are equal in all rows of a batch.
    const now = dataset.fields
      .map(({ name, batchAxis }) =>
        [row.get(name)?.shape.join(','), batchAxis === null ? row.get(name)?.data.join(',') : ''].join(':'),
      )
      .join(' ');
    if (group.length > 0 && (group.length === size || now !== shape)) {
      yield group;
      group = [];
    }
    shape = now;
    group.push(i);
  }
  if (group.length > 0) yield group;
}

/**
 * Dummy labels, for the loss that eval.onnx computes in addition to the outputs: zeros of the manifest's shape, with
 * symbols resolved from the inputs; an axis of unknown size is 1, which broadcasts.
 */
function withLabels({ manifest }: Engine, feeds: Feeds): Feeds {
  if (manifest.labels === undefined) return feeds;
  const labels = { ...manifest.labels, shape: openShape(manifest.labels) };
  const symbols = new Map<string, number>();
  for (const input of manifest.inputs) {
    const dims = feeds[input.name]?.dims ?? [];
    for (const [axis, dim] of openShape(input).entries())
      if (typeof dim === 'string') symbols.set(dim, dims[axis] ?? 1);
  }
  const known = labels.shape.map((dim) => (typeof dim === 'number' ? dim : symbols.get(dim ?? '')));
  const dims = known.includes(undefined)
    ? known.map((_, axis) => pick(labels.shape[axis]))
    : known.map((dim) => dim ?? 1);
  const type: ElementType = labels.type === 'int64' ? 'int64' : 'float32';
  return {
    ...feeds,
    [labels.name]: {
      type,
      dims,
      data: newArray(
        type,
        dims.reduce((a, b) => a * b, 1),
      ),
    },
  };
}

const pick = (dim: number | string | null | undefined): number => (typeof dim === 'number' ? dim : 1);

/** @param axis the axis of rows; null: the tensor is one row. */
function rowOf(tensor: BatchTensor | undefined, index: number, axis: number | null): BatchTensor {
  if (tensor === undefined) throw new Error('an output is missing');
  if (axis === null) return tensor;
  const { type } = tensor;
  const rows = tensor.dims[axis] ?? 1;
  const dims = tensor.dims.filter((_, i) => i !== axis);
  const size = dims.reduce((a, b) => a * b, 1);
  const inner = dims.slice(axis).reduce((a, b) => a * b, 1);
  if (inner === size) return { type, dims, data: tensor.data.slice(index * size, (index + 1) * size) };
  const data = newArray(type, size);
  for (let at = 0; at < size; at++) {
    const from = (Math.floor(at / inner) * rows + index) * inner + (at % inner);
    const value = tensor.data[from] ?? 0;
    data[at] = value;
  }
  return { type, dims, data };
}
