/** The sections of loraify.json for the adapted layers and the modules_to_save weights. */
import { defined } from '../formats/defined.ts';
import type { Manifest, ManifestLayer } from '../formats/manifest.ts';
import { factorShapes, sizeOf } from '../graph/layers.ts';
import { graphsOf, type Model } from '../graph/model.ts';
import { elementCount, isFloat } from '../graph/tensor.ts';
import type { Compiled } from './compiled.ts';
import { existingOf } from './existingLora.ts';
import type { ResolvedOptions } from './options.ts';

export function loraSection(
  { selection, dropout, modulesToSave, existing }: Compiled,
  options: ResolvedOptions,
): Manifest['lora'] {
  const { settings = options } = selection;
  const { otherFields = {} } = selection.settings ?? {};
  return defined({
    rank: settings.rank,
    alpha: settings.alpha,
    scaling: settings.scaling,
    init: options.init,
    seed: options.seed,
    dropout,
    dora: selection.chosen.some((c) => c.magnitude !== undefined) ? true : undefined,
    modulesToSave: modulesToSave.length === 0 ? undefined : [...modulesToSave],
    existing: existingOf(existing),
    peft: Object.keys(otherFields).length === 0 ? undefined : otherFields,
  });
}

export function layersSection({ selection, layout }: Compiled): ManifestLayer[] {
  return selection.chosen.map(({ candidate, layer, peft }, i) => {
    const slots = layout.slots[i];
    const shapes = factorShapes(layer);
    const part = candidate.products[0]?.part;
    const at = (factor: 'A' | 'B') => ({
      name: layer[factor],
      offset: slots?.[factor].offset ?? 0,
      shape: [...shapes[factor]],
    });
    return defined({
      path: layer.path,
      peft: peft === layer.path ? undefined : peft,
      node: candidate.nodes[0] ?? layer.path,
      op: candidate.op,
      weight: layer.weight,
      nodes: [...candidate.nodes],
      layout: layer.layout,
      in: layer.in,
      out: layer.out,
      rank: layer.rank,
      alpha: layer.alpha,
      scale: layer.scale,
      kernel: layer.kernel && [...layer.kernel],
      columns: part && [part.from, part.from + layer.out],
      A: at('A'),
      B: at('B'),
      magnitude: slots?.magnitude && { ...slots.magnitude, shape: [...slots.magnitude.shape] },
    });
  });
}

export function savedSection({ saved, savedNames, layout }: Compiled): Manifest['saved'] {
  if (saved.length === 0) return undefined;
  return saved.flatMap(({ name, parameter: { path, value, transposed: turned } }, i) => {
    const slot = layout.saved[i];
    if (slot === undefined) return [];
    return defined({
      ...slot,
      shape: [...slot.shape],
      parameter: path,
      peft: savedNames.get(path),
      weight: value.name === name ? undefined : value.name,
      turned: turned || undefined,
    });
  });
}

export function copiesSection({ copies }: Compiled): Manifest['copies'] {
  if (copies.length === 0) return undefined;
  return copies.map(({ value, of, transposed }) =>
    defined({ weight: value.name, of: of.name, transposed: transposed || undefined }),
  );
}

export function skippedSection({ found, selection }: Compiled): Manifest['skipped'] {
  const left = found.candidates.flatMap((c) => {
    const reason = selection.left.get(c.path);
    return reason === undefined ? [] : c.nodes.map((node) => ({ node, op: c.op, reason: `${c.path}: ${reason}` }));
  });
  return [...left, ...found.skipped];
}

export function countsSection(model: Model, compiled: Compiled): Manifest['counts'] {
  const trainable = compiled.layout.size;
  const total = trainable + parameterCount(model, compiled);
  return { layers: compiled.selection.chosen.length, trainable, total };
}

/**
 * Elements of the source's weights: floating-point tensors of rank 1 and more, and what the layers' weights stand for,
 * however they are packed.
 */
export function parameterCount(
  model: Model,
  { found, layers, selection }: Pick<Compiled, 'found' | 'layers'> & Partial<Pick<Compiled, 'selection'>>,
): number {
  const added = new Set(layers.flatMap((l) => [l.A, l.B, l.magnitude]));
  const changed = new Set(selection?.chosen.map((c) => c.changed));
  const graphs = graphsOf(model);
  const sizes = new Map(
    graphs.flatMap((g) =>
      g.initializers.flatMap(({ name, tensor: t }) =>
        t === undefined || added.has(name) || changed.has(t) || t.dims.length === 0 || !isFloat(t.dtype)
          ? []
          : [[t.payload.kind === 'rounded' ? t.payload.from : t, elementCount(t.dims)] as const],
      ),
    ),
  );
  for (const c of found.candidates)
    for (const { weight, part } of c.products)
      sizes.set(weight.tensor, c.in * (part?.of ?? c.out) * sizeOf(c.kernel ?? []));
  return [...sizes.values()].reduce((n, size) => n + size, 0);
}
