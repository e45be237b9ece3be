/**
 * Combines several adapters into one, as PeftModel.add_weighted_adapter does (peft/tuners/lora/model.py). Layers of the
 * result have scale 1, even if the first adapter uses rsLoRA: PEFT then sets that flag on the sum too, and with it an
 * unwanted factor sqrt(rank). A layer that only some adapters have is combined from those.
 *
 *   linear A = Σ ±sqrt(|w·s|) A_i, B = Σ sqrt(|w·s|) B_i: ranks must be equal, and the product has cross terms of
 *   different adapters' A and B
 *   cat A = [w·s·A_1, w·s·A_2, …], B = [B_1; B_2; …]: the exact sum of the branches; ranks add up
 */
import { adapterMismatch, mergeMismatch } from '../errors.ts';
import type { Combination } from '../graph/choices/package.ts';
import { formAxes, formShapes, weightText } from '../graph/layers.ts';
import { concatenated } from './concatenated.ts';
import type { PeftLayer } from './peftTensors.ts';

export interface Weighted {
  /** The adapter's origin, for messages. */
  readonly name: string;
  readonly strength: number;
  readonly layers: ReadonlyMap<string, PeftLayer>;
}

/**
 * Layers in order of first appearance. `kind` undefined: linear if all adapters agree in rank, else cat. Errors:
 * ADAPTER_MISMATCH (shapes, or ranks for linear), MERGE_MISMATCH for values that are not finite.
 */
export function combine(adapters: readonly Weighted[], kind?: Combination): Map<string, PeftLayer> {
  for (const { name, layers } of adapters)
    for (const [path, { magnitude }] of layers)
      if (magnitude !== undefined)
        throw adapterMismatch(
          `layer "${path}" has a magnitude (DoRA), which scales the base weight as well, so it cannot be combined with another adapter`,
          name,
        );
  const byPath = new Map<string, Part[]>();
  for (const { name, strength, layers } of adapters)
    for (const [path, layer] of layers) byPath.set(path, [...(byPath.get(path) ?? []), { name, strength, layer }]);
  const uniform = [...byPath.values()].every((parts) => new Set(parts.map((p) => p.layer.rank)).size === 1);
  const chosen = kind ?? (uniform ? 'linear' : 'cat');
  return new Map([...byPath].map(([path, parts]) => [path, combinedBy[chosen](path, parts)]));
}

/** @see combinations */
const combinedBy = { linear, cat } satisfies Record<Combination, (path: string, parts: readonly Part[]) => PeftLayer>;

interface Part {
  readonly name: string;
  readonly strength: number;
  readonly layer: PeftLayer;
}

function linear(path: string, parts: readonly Part[]): PeftLayer {
  const first = agreeing(path, parts);
  for (const { name, layer } of parts)
    if (layer.rank !== first.rank)
      throw adapterMismatch(
        `layer "${path}" has rank ${first.rank} in "${parts[0]?.name}" and rank ${layer.rank} in "${name}"; a linear combination needs equal ranks, --combination cat does not`,
        name,
      );
  const A = new Float32Array(first.A.length);
  const B = new Float32Array(first.B.length);
  for (const { strength, layer } of parts) {
    const factor = strength * layer.scale;
    const root = Math.sqrt(Math.abs(factor));
    // The sign is applied to one side only.
    add(A, layer.A, factor < 0 ? -root : root);
    add(B, layer.B, root);
  }
  return checked(path, { ...first, alpha: first.rank, scale: 1, A, B });
}

function add(sum: Float32Array, values: Float32Array, factor: number): void {
  const f = Math.fround(factor);
  for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] ?? 0) + Math.fround(f * (values[i] ?? 0));
}

function cat(path: string, parts: readonly Part[]): PeftLayer {
  const first = agreeing(path, parts);
  const rank = parts.reduce((n, p) => n + p.layer.rank, 0);
  // Each factor is rounded at the same point as in PEFT.
  const scaled = ({ strength, layer }: Part): Float32Array =>
    layer.A.map((x) => Math.fround(x * Math.fround(strength)) * Math.fround(layer.scale));
  const axes = formAxes(first.form);
  const shapes = formShapes(first.form, { ...first, rank });
  const shapesOf = (p: Part): typeof shapes => formShapes(p.layer.form, p.layer);
  const A = concatenated(
    shapes.A,
    axes.A,
    parts.map((p) => ({ dims: shapesOf(p).A, data: scaled(p) })),
  ).data;
  const B = concatenated(
    shapes.B,
    axes.B,
    parts.map((p) => ({ dims: shapesOf(p).B, data: p.layer.B })),
  ).data;
  return checked(path, { ...first, rank, alpha: rank, scale: 1, A, B });
}

/**
 * The sum of a layer's branch and `factor` times another one, as one branch: A = [A_1, A_2], B = [B_1; factor·B_2],
 * with the scale of the first. With -1 and the initial factors of a layer whose init changed the base weight, this is
 * PEFT's conversion to plain LoRA (peft/tuners/lora/model.py, subtract_mutated_init).
 */
export function beside(layer: PeftLayer, other: PeftLayer, factor: number): PeftLayer {
  const rank = layer.rank + other.rank;
  const by = (factor * other.scale) / layer.scale;
  const [axes, shapes] = [formAxes(layer.form), formShapes(layer.form, { ...layer, rank })];
  const parts = [
    { ...formShapes(layer.form, layer), layer },
    { ...formShapes(other.form, other), layer: { A: other.A, B: other.B.map((x) => x * by) } },
  ];
  const joined = (part: 'A' | 'B'): Float32Array =>
    concatenated(
      shapes[part],
      axes[part],
      parts.map((p) => ({ dims: p[part], data: p.layer[part] })),
    ).data;
  return { ...layer, rank, alpha: (layer.alpha * rank) / layer.rank, A: joined('A'), B: joined('B') };
}

function agreeing(path: string, parts: readonly Part[]): PeftLayer {
  const [first, ...others] = parts;
  if (first === undefined) throw new Error(`no adapter has the layer "${path}"`);
  for (const { name, layer } of others)
    if (weightText(layer) !== weightText(first.layer))
      throw adapterMismatch(
        `layer "${path}" is ${weightText(first.layer)} in "${first.name}", ${weightText(layer)} in "${name}"`,
        name,
      );
  return first.layer;
}

function checked(path: string, layer: PeftLayer): PeftLayer {
  for (const part of ['A', 'B'] as const)
    if (!layer[part].every(Number.isFinite))
      throw mergeMismatch(`layer "${path}": lora_${part} of the combination has values that are not finite`);
  return layer;
}
