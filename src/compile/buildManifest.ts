/** Builds loraify.json for a compiled model. */
import type { InputInfo, Manifest, ManifestSplice, ValueInfo } from '../formats/manifest.ts';
import { factorShapes, sizeOf } from '../graph/layers.ts';
import type { Model, Value } from '../graph/model.ts';
import { elementCount, isFloat } from '../graph/tensor.ts';
import {
  buildTraining,
  computesIn,
  lossScaling,
  narrowsActivations,
  type Prepared,
  type Stored,
} from '../passes/index.ts';
import type { Compiled } from './compiled.ts';
import type { ResolvedOptions } from './options.ts';

export interface ManifestInputs {
  /** The source's file name. */
  readonly file: string;
  readonly bytes: number;
  /** The path relative to the package's folder. */
  readonly path: string;
  readonly data: readonly string[];
  /** The file that this package adds. */
  readonly weightsFile?: string | undefined;
  readonly format: Manifest['format'];
  readonly version: string;
  readonly model: Model;
  readonly compiled: Compiled;
  readonly options: ResolvedOptions;
  readonly skeleton: { readonly sha256: string; readonly splices: readonly ManifestSplice[] };
}

export function buildManifest(m: ManifestInputs): Manifest {
  const { compiled, options, model } = m;
  const { layout, prepared, selection, found } = compiled;
  const { settings = options } = selection;
  const { otherFields = {} } = selection.settings ?? {};
  const reference = compiled.graphs.get('train') ?? compiled.graphs.get('grad') ?? compiled.graphs.get('eval');
  const open = openInputs(compiled, reference);
  const names = prepared?.names;
  const name = (key: keyof NonNullable<typeof names>): string => names?.[key] ?? key;
  const pair = (key: 'lora_params' | 'lora_m' | 'lora_v' | 'lora_step' | 'lora_loss_scale'): [string, string] => [
    name(key),
    `${name(key)}_next`,
  ];
  const own = new Set(model.graph.inputs.map((v) => v.name));
  const trainable = layout.size;
  const bound = prepared === undefined ? [] : boundOf(prepared);
  return {
    format: m.format,
    version: m.version,
    source: {
      file: m.file,
      bytes: m.bytes,
      sha256: m.skeleton.sha256,
      opset: model.opsets.get('') ?? 0,
      ...(m.data.length === 0 ? {} : { data: [...m.data] }),
      ...(compiled.stored === undefined ? {} : { path: m.path }),
    },
    ...(compiled.stored === undefined ? {} : { precision: precisionOf(compiled.stored, options, m.weightsFile) }),
    ...(prepared === undefined ? {} : { for: options.for }),
    ...fixedOf(prepared, open),
    graphs: Object.fromEntries([...compiled.graphs.keys()].map((g) => [g, `${g}.onnx`])),
    lora: {
      rank: settings.rank,
      alpha: settings.alpha,
      scaling: settings.scaling,
      init: options.init,
      seed: options.seed,
      dropout: compiled.dropout,
      ...(selection.chosen.some((c) => c.magnitude !== undefined) ? { dora: true } : {}),
      ...(compiled.modulesToSave.length === 0 ? {} : { modulesToSave: [...compiled.modulesToSave] }),
      ...(Object.keys(otherFields).length === 0 ? {} : { peft: otherFields }),
    },
    layers: selection.chosen.map(({ candidate, layer }, i) => {
      const slots = layout.slots[i];
      const shapes = factorShapes(layer);
      const part = candidate.products[0]?.part;
      const at = (part: 'A' | 'B') => ({
        name: layer[part],
        offset: slots?.[part].offset ?? 0,
        shape: [...shapes[part]],
      });
      return {
        path: layer.path,
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
        ...(layer.kernel === undefined ? {} : { kernel: [...layer.kernel] }),
        ...(part === undefined ? {} : { columns: [part.from, part.from + layer.out] }),
        A: at('A'),
        B: at('B'),
        ...(slots?.magnitude === undefined
          ? {}
          : { magnitude: { ...slots.magnitude, shape: [...slots.magnitude.shape] } }),
      };
    }),
    ...savedOf(compiled),
    skipped: [
      ...found.candidates.flatMap((c) => {
        const reason = selection.left.get(c.path);
        return reason === undefined ? [] : c.nodes.map((node) => ({ node, op: c.op, reason: `${c.path}: ${reason}` }));
      }),
      ...found.skipped,
    ],
    state: {
      size: layout.size,
      params: pair('lora_params'),
      m: pair('lora_m'),
      ...(options.optimizer === 'adamw' ? { v: pair('lora_v') } : {}),
      step: pair('lora_step'),
      ...(prepared?.lossScaled === true ? { lossScale: pair('lora_loss_scale') } : {}),
      lr: name('lora_lr'),
    },
    inputs: (reference?.graph.inputs ?? model.graph.inputs.filter((v) => v.tensor === undefined))
      .filter((v) => own.has(v.name))
      .map((v) => ({
        ...info(v),
        ...opened(v, open),
        ...missing(prepared?.bindings.absent.get(v.name)),
        ...longest(v, prepared),
      })),
    ...labelsOf(reference, prepared, open),
    ...(bound.length === 0 ? {} : { bound }),
    ...(prepared === undefined
      ? {}
      : {
          loss: {
            kind: prepared.choice.kind,
            output: prepared.choice.output,
            tensor: prepared.choice.tensor,
            chosen: prepared.choice.reason,
            classAxis: prepared.choice.classAxis,
            ...(prepared.choice.classes === undefined ? {} : { classes: prepared.choice.classes }),
            ignoreIndex: options.ignoreIndex,
            labelSmoothing: options.labelSmoothing,
            ...(options.classWeights === undefined ? {} : { classWeights: options.classWeights }),
          },
        }),
    names: {
      loss: name('loss'),
      grad_norm: name('grad_norm'),
      weight: name('weight'),
      grad: name('lora_grad'),
      apply: name('lora_apply'),
      ...(prepared?.seeded === true ? { seed: name('lora_seed') } : {}),
    },
    optimizer: {
      kind: options.optimizer,
      betas: [...options.betas],
      eps: options.eps,
      weightDecay: options.weightDecay,
      maxGradNorm: options.maxGradNorm,
      ...(options.optimizer === 'sgd' ? { momentum: options.momentum } : {}),
      ...(prepared?.lossScaled === true ? { lossScale: { ...lossScaling } } : {}),
    },
    counts: { layers: selection.chosen.length, trainable, total: trainable + parameterCount(model, compiled) },
    splices: [...m.skeleton.splices],
  };
}

/** The manifest's entry for rounded weights. */
export const precisionOf = (
  stored: Stored,
  options: ResolvedOptions,
  file?: string,
): NonNullable<Manifest['precision']> => ({
  type: stored.type,
  ...(file === undefined ? {} : { file }),
  computes: computesIn(stored.type, options.for),
  ...(narrowsActivations(options.for) ? { activations: stored.type } : {}),
  weights: stored.weights,
  bytes: stored.bytes,
  sourceBytes: stored.sourceBytes,
});

/**
 * The number of elements of the source's weights: floating-point tensors of rank 1 and more, and the layers' weights,
 * counted unpacked.
 */
export function parameterCount(
  model: Model,
  { found, layers, selection }: Pick<Compiled, 'found' | 'layers'> & Partial<Pick<Compiled, 'selection'>>,
): number {
  const added = new Set(layers.flatMap((l) => [l.A, l.B, l.magnitude]));
  const changed = new Set(selection?.chosen.map((c) => c.changed));
  const graphs = [model.graph, ...model.functions.map((f) => f.body)].flatMap((g) => [...g.allGraphs()]);
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

function savedOf({ saved, layout }: Compiled): Pick<Manifest, 'saved'> {
  if (saved.length === 0) return {};
  return {
    saved: saved.flatMap(({ name, parameter: { path, value, transposed } }, i) => {
      const slot = layout.saved[i];
      if (slot === undefined) return [];
      return {
        ...slot,
        shape: [...slot.shape],
        parameter: path,
        ...(value.name === name ? {} : { weight: value.name }),
        ...(transposed ? { turned: true } : {}),
      };
    }),
  };
}

export function info(v: Value): ValueInfo {
  return { name: v.name, type: v.dtype ?? 'float32', shape: [...(v.shape ?? [])] };
}

const missing = (value: InputInfo['missing']): Pick<InputInfo, 'missing'> =>
  value === undefined ? {} : { missing: value };

function longest({ name }: Value, prepared: Prepared | undefined): Pick<InputInfo, 'longest'> {
  const bindings = prepared?.bindings;
  return name !== bindings?.tokens || bindings.longest === undefined ? {} : { longest: bindings.longest };
}

/** The inputs of eval.onnx by name, if other graphs fix dims; empty otherwise. */
function openInputs({ graphs, prepared }: Compiled, reference: Model | undefined): ReadonlyMap<string, Value> {
  const evaluation = graphs.get('eval');
  if (prepared?.fixed === undefined || reference === undefined || reference === evaluation) return new Map();
  const { graph } = evaluation ?? buildTraining(prepared, 'eval');
  return new Map(graph.inputs.map((v) => [v.name, v]));
}

function opened(v: Value, open: ReadonlyMap<string, Value>): Pick<InputInfo, 'open'> {
  const shape = open.get(v.name)?.shape;
  return shape === undefined || shape.every((d, i) => d === v.shape?.[i]) ? {} : { open: [...shape] };
}

function fixedOf(prepared: Prepared | undefined, open: ReadonlyMap<string, Value>): Pick<Manifest, 'fixed'> {
  if (prepared?.fixed === undefined || open.size === 0) return {};
  const { batch, seq, dims, mixed } = prepared.fixed;
  return {
    fixed: {
      ...(batch === undefined ? {} : { batch }),
      ...(seq === undefined ? {} : { seq }),
      ...(Object.keys(dims).length === 0 ? {} : { dims: { ...dims } }),
      ...(mixed === undefined ? {} : { wholeBatches: mixed }),
    },
  };
}

function labelsOf(
  reference: Model | undefined,
  prepared: Prepared | undefined,
  open: ReadonlyMap<string, Value>,
): { labels?: InputInfo } {
  const found = reference?.graph.inputs.find((v) => v.name === prepared?.names.labels);
  if (found === undefined || prepared === undefined) return {};
  const tokens = reference?.graph.inputs.find((v) => v.name === prepared.bindings.tokens);
  // A language model learns from text alone: the labels are the tokens.
  const own = prepared.choice.kind === 'causal-lm' && tokens?.shape?.length === 2;
  return {
    labels: {
      ...info(found),
      ...opened(found, open),
      ...missing(own ? { value: 'copy', like: tokens.name } : undefined),
    },
  };
}

/** The inputs that are bound in the training graphs. */
export function boundOf({ bindings }: Prepared): NonNullable<Manifest['bound']> {
  return bindings.bound.map(({ name, value, dtype, shape }) => ({
    name,
    value,
    ...(dtype === undefined ? {} : { type: dtype }),
    ...(shape === undefined ? {} : { shape: [...shape] }),
  }));
}
