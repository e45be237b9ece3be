/** The weighted layers of a model, which would be adapted and why the rest not, and the loss that would be chosen. */
import { type PeftAdapter, readPeft } from './adapter/index.ts';
import { LoraifyError } from './errors.ts';
import type { Manifest } from './formats/manifest.ts';
import { cloneModel } from './graph/clone.ts';
import type { Model } from './graph/model.ts';
import { select, trainingOptions } from './loraify.ts';
import { parameterCount } from './manifest.ts';
import { type CompileOptions, type ResolvedOptions, resolveOptions } from './options.ts';
import { openModel } from './packages.ts';
import { adapt, type Candidates, findCandidates, prepare } from './passes/index.ts';
import type { Selection } from './select.ts';

export interface InspectedLayer {
  readonly path: string;
  /** Where the path came from. */
  readonly from: string;
  readonly op: string;
  readonly nodes: readonly string[];
  readonly weight: string;
  readonly layout: 'in_out' | 'out_in';
  readonly in: number;
  readonly out: number;
  readonly rank: number;
  /** Trainable parameters of the branch. */
  readonly parameters: number;
  readonly chosen: boolean;
  /** Why it was left alone. */
  readonly reason?: string;
}

export interface Inspection {
  readonly file: string;
  readonly opset: number;
  readonly irVersion: number;
  readonly layers: readonly InspectedLayer[];
  readonly skipped: Manifest['skipped'];
  /** The loss that would be chosen, or why none could. */
  readonly loss:
    | { readonly kind: string; readonly output: string; readonly tensor: string; readonly reason: string }
    | { readonly reason: string };
  readonly totals: {
    readonly layers: number;
    readonly chosen: number;
    readonly trainable: number;
    readonly total: number;
  };
  readonly warnings: readonly string[];
}

/**
 * The weighted layers of a model (or of a package's source), which would be adapted and why the others not, and the loss that
 * would be chosen. Takes the options of `compile` that select. A model without layers is no error here.
 */
export async function inspect(file: string, options: CompileOptions = {}): Promise<Inspection> {
  const resolved = resolveOptions(options);
  const { model, source } = openModel(file);
  try {
    const adapter = resolved.adapter === undefined ? undefined : readPeft(resolved.adapter);
    const found = findCandidates(model, new Set(adapter?.tensors.keys()));
    const selection = selectedFrom(model, found, resolved, adapter);
    const layers = selection.chosen.map((c) => c.layer);
    const byPath = new Map(layers.map((l) => [l.path, l]));
    const total = parameterCount(model, { found, layers: [] });
    const rows = found.candidates.map((c): InspectedLayer => {
      const rank = byPath.get(c.path)?.rank ?? resolved.rank;
      const reason = selection.left.get(c.path);
      const { path, from, op, nodes, weight, layout } = c;
      const parameters = rank * (c.in + c.out);
      return {
        path,
        from,
        op,
        nodes,
        weight,
        layout,
        in: c.in,
        out: c.out,
        rank,
        parameters,
        chosen: byPath.has(path),
        ...(reason === undefined ? {} : { reason }),
      };
    });
    const trainable = rows.reduce((n, l) => n + (l.chosen ? l.parameters : 0), 0);
    return {
      file,
      opset: model.opsets.get('') ?? 0,
      irVersion: model.irVersion,
      layers: rows,
      skipped: [...found.skipped],
      loss: lossOf(model, selection, resolved),
      totals: { layers: rows.length, chosen: layers.length, trainable, total: total + trainable },
      warnings: selection.warnings,
    };
  } finally {
    source.close();
  }
}

/** As compile selects, but a selection of nothing is a result. */
function selectedFrom(
  model: Model,
  found: Candidates,
  options: ResolvedOptions,
  adapter: PeftAdapter | undefined,
): Selection {
  if (found.candidates.length === 0) return { chosen: [], left: new Map(), warnings: [] };
  try {
    return select(model, found, options, adapter);
  } catch (error) {
    if (!(error instanceof LoraifyError) || error.code !== 'NO_TARGETS') throw error;
    return {
      chosen: [],
      left: new Map(found.candidates.map((c) => [c.path, 'not a target'])),
      warnings: [error.message],
    };
  }
}

function lossOf(model: Model, selection: Selection, options: ResolvedOptions): Inspection['loss'] {
  if (selection.chosen.length === 0) return { reason: 'no layer is chosen' };
  const { model: copy, map } = cloneModel(model);
  const chosen = selection.chosen.map((c) => ({
    ...c,
    candidate: {
      ...c.candidate,
      products: c.candidate.products.map((p) => ({ ...p, node: map.nodes.get(p.node) ?? p.node })),
    },
  }));
  try {
    adapt(
      copy,
      chosen.filter((c) => c.candidate.products.every((p) => p.calls.length === 0)),
    );
    const { kind, output, tensor, reason } = prepare(
      copy,
      selection.chosen.map((c) => c.layer),
      trainingOptions(options, undefined),
    ).choice;
    return { kind, output, tensor, reason };
  } catch (error) {
    if (!(error instanceof LoraifyError)) throw error;
    return { reason: `${error.code}: ${error.message}` };
  }
}
