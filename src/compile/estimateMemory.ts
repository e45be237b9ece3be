/** Estimates the peak memory of a training step without compiling or running anything, for `inspect --memory`. */
import { join } from 'node:path';
import { badOption, badPackage, didYouMean, LoraifyError } from '../errors.ts';
import { batchAxisOf, type Manifest } from '../formats/manifest.ts';
import { type Graph, type Model, type Node, tensorType, Value } from '../graph/model.ts';
import { isUnpacked } from '../graph/packing.ts';
import { parseFile } from '../parser/index.ts';
import {
  type BatchAxes,
  buildTraining,
  bytesOfValues,
  fedTo,
  forwardOf,
  type Held,
  inferShapes,
  lengthCalled,
  lengthsNeeded,
  type Prepared,
  packedBytes,
  peakOf,
  type Target,
  weightBytes,
} from '../passes/index.ts';
import { longestRun } from '../runtime/index.ts';

/**
 * Values that correspond to each other in all layers: their operator, and their name with `*` for the numbers in it.
 */
export interface MemoryKind {
  readonly op: string;
  readonly name: string;
  readonly values: number;
  readonly bytes: number;
}

/** The estimate in bytes. */
export interface InspectedMemory {
  /** The graph: train_k for more than one step per run. */
  readonly graph: 'train' | 'train_k';
  /** The dims of the estimate, by the model's symbols, and the steps of a run. */
  readonly lengths: Readonly<Record<string, number>>;
  readonly steps: number;
  /** The frozen weights as stored. */
  readonly weights: number;
  /** Prepacked weights of the CPU provider's MatMuls; 0 for other providers and from 1 GiB of weights. */
  readonly packed: number;
  /** Inputs of the model and labels. */
  readonly batch: number;
  /** Parameters and moments: as inputs, as outputs, and between the steps of a run. */
  readonly state: number;
  /** All other results of a step, at the peak. */
  readonly activations: number;
  /** The part of the activations that the forward made and the backward will read. */
  readonly kept: number;
  readonly total: number;
  /** The node that runs at the peak. */
  readonly peak: { readonly node: string; readonly op: string };
  /** The activations, largest first. */
  readonly largest: readonly MemoryKind[];
  /** Values of unknown size, which count as zero. */
  readonly unknown: readonly string[];
}

/** A package, or what a compile would make one of. */
interface Inspected {
  readonly file: string;
  /** The manifest of a package. */
  readonly manifest: Manifest | undefined;
  readonly training: Prepared | LoraifyError | undefined;
  readonly parameters: number;
}

/**
 * The memory of a step of a package as it was compiled, or as it would be; the reason if it is not known.
 * @param asked numbers for the model's symbols; `batch` and `seq` also stand for the first and the second axis of its
 * inputs, `steps` for the optimizer steps of one run. Errors: BAD_OPTION for an unknown symbol, or one without a
 * number.
 */
export function inspectedMemory(
  { file, manifest, training, parameters }: Inspected,
  asked: Readonly<Record<string, number>>,
): InspectedMemory | { readonly reason: string } {
  try {
    if (manifest !== undefined) return estimated(ofPackage(file, manifest), asked);
    if (training === undefined) return { reason: 'no layer is chosen' };
    if (training instanceof LoraifyError) throw training;
    return estimated(ofPrepared(training, parameters), asked);
  } catch (error) {
    if (!(error instanceof LoraifyError) || error.code === 'BAD_OPTION') throw error;
    return { reason: `${error.code}: ${error.message}` };
  }
}

/** The graphs of which the memory is estimated. */
interface Estimated {
  readonly target: Target;
  readonly parameters: number;
  /** Builds or opens a graph, with inferred shapes. */
  readonly graphOf: (kind: InspectedMemory['graph']) => Model;
  /** The model's inputs, the one with the tokens, and the batch axes that are not the first. */
  readonly inputs: readonly Value[];
  readonly tokens: string | undefined;
  readonly rows: BatchAxes['inputs'];
  /** Names of the inputs with the state. */
  readonly state: readonly string[];
  /** Dims that are fixed and therefore no longer symbols. */
  readonly fixed: Readonly<Record<string, number>>;
}

function ofPrepared(prepared: Prepared, parameters: number): Estimated {
  const { model, options, bindings, batch, names, fixed } = prepared;
  const { lora_params, lora_m, lora_v, lora_step, lora_loss_scale } = names;
  return {
    target: options.target,
    parameters,
    graphOf: (kind) => buildTraining(prepared, kind),
    inputs: model.graph.inputs,
    tokens: bindings.tokens,
    rows: batch.inputs,
    state: [lora_params, lora_m, lora_v, lora_step, lora_loss_scale],
    fixed: numbersOf(fixed),
  };
}

function ofPackage(dir: string, manifest: Manifest): Estimated {
  const { params, m, v, step, lossScale } = manifest.state;
  return {
    target: manifest.for ?? 'portable',
    parameters: manifest.counts.total,
    graphOf: (kind) => {
      const file = manifest.graphs[kind];
      if (file === undefined) throw badPackage(`the package has no ${kind} graph; compile with --emit all`, dir);
      const { model, source } = parseFile(join(dir, file));
      source.close();
      inferShapes(model.graph);
      return model;
    },
    inputs: manifest.inputs.map(({ name, shape }) => new Value(name, tensorType(undefined, shape))),
    tokens: manifest.loss?.tokens?.input,
    rows: new Map(manifest.inputs.map((input) => [input.name, batchAxisOf(input)])),
    state: [params, m, v, step, lossScale].flatMap((pair) => pair?.[0] ?? []),
    fixed: numbersOf(manifest.fixed),
  };
}

function estimated(of: Estimated, asked: Readonly<Record<string, number>>): InspectedMemory {
  const { target, parameters } = of;
  const { steps = target === 'cuda' ? longestRun : 1, ...numbers } = asked;
  for (const [name, n] of Object.entries({ ...numbers, steps }))
    if (!Number.isSafeInteger(n) || n < 1) throw badOption(`--memory ${name}=${n}: a dim must be a positive integer`);
  const named = lengthsOf(of, numbers);
  const graph = steps > 1 ? 'train_k' : 'train';
  const model = of.graphOf(graph);
  const lengths = new Map([...named, ['K', steps] as const]);

  const peak = peakOf(model.graph, lengths);
  const isState = stateTest(model.graph, of.state);
  const state = peak.held.filter(({ value }) => isState(value));
  const activations = peak.held.filter(({ value }) => !isState(value));
  const fed = fedTo(model.graph);
  const parts = {
    weights: weightBytes(model),
    packed: target === 'cuda' || target === 'webgpu' || isUnpacked(parameters) ? 0 : packedBytes(model),
    batch: bytesOfValues(
      fed.filter((v) => !isState(v)),
      lengths,
    ),
    state: bytesOfValues(fed.filter(isState), lengths) + bytesOfHeld(state),
    activations: bytesOfHeld(activations),
  };
  return {
    graph,
    lengths: { ...of.fixed, ...Object.fromEntries(named) },
    steps,
    ...parts,
    kept: bytesOfHeld(activations.filter(keptTest(model.graph))),
    total: Object.values(parts).reduce((a, b) => a + b, 0),
    peak: { node: peak.node?.label ?? '', op: peak.node?.op ?? '' },
    largest: kindsOf(activations),
    unknown: peak.unknown.map((v) => v.name),
  };
}

const bytesOfHeld = (held: readonly Held[]): number => held.reduce((n, h) => n + h.bytes, 0);

/** The numbers by symbol. */
function lengthsOf(
  { inputs, tokens, rows }: Estimated,
  numbers: Readonly<Record<string, number>>,
): Map<string, number> {
  const needed = lengthsNeeded(inputs);
  const placed = (name: string): number | string | undefined =>
    name === 'batch' || name === 'seq' ? (lengthCalled(name, inputs, tokens, rows) ?? undefined) : undefined;
  const lengths = new Map<string, number>();
  for (const [name, n] of Object.entries(numbers)) {
    const symbol = needed.has(name) ? name : placed(name);
    if (symbol === n) continue;
    if (typeof symbol === 'number') throw badOption(`--memory ${name}=${n}: the model fixes that dim to ${symbol}`);
    if (symbol === undefined) {
      const known = [...needed].join(', ') || 'none';
      throw badOption(
        `--memory ${name}=${n}: no input has a dim "${name}"${didYouMean(name, needed) || `; there are: ${known}`}`,
      );
    }
    const other = lengths.get(symbol);
    if (other !== undefined && other !== n)
      throw badOption(`--memory gives "${symbol}" two numbers, ${other} and ${n}`);
    lengths.set(symbol, n);
  }
  const missing = [...needed].filter((s) => !lengths.has(s));
  if (missing.length > 0) {
    const form = missing.map((s) => `${s}=N`).join(',');
    throw badOption(`--memory needs a number for each dim that the model leaves open: add ${form}`);
  }
  return lengths;
}

function numbersOf(fixed: Manifest['fixed'] | Prepared['fixed']): Record<string, number> {
  const given = Object.entries({ batch: fixed?.batch, seq: fixed?.seq, ...fixed?.dims });
  return Object.fromEntries(given.flatMap(([name, n]) => (n === undefined ? [] : [[name, n]])));
}

/** Whether a value is the trainable state, or the updated state. */
function stateTest(graph: Graph, own: readonly string[]): (v: Value) => boolean {
  const state = new Set<Value>([
    ...graph.inputs.filter((v) => own.includes(v.name)),
    ...graph.outputs.filter((v) => own.some((name) => v.name === `${name}_next`)),
    // The loop-carried state of a Scan.
    ...graph.nodes.flatMap((n) => (n.op === 'Scan' ? n.inputs.flatMap((v) => v ?? []) : [])).filter((v) => v.producer),
  ]);
  for (const node of graph.nodes) if (node.op === 'Scan') for (const v of node.outputs) state.add(v);
  return (v) => state.has(v);
}

/** Whether a value is made by the forward of a graph or of one of its bodies, and read by the backward. */
function keptTest(graph: Graph): (held: Held) => boolean {
  const forward = new Set([...graph.allGraphs()].flatMap((g) => [...(forwardOf(g) ?? [])]));
  const isForward = (node: Node | undefined): boolean => node !== undefined && forward.has(node);
  return ({ value, views }) =>
    isForward(value.producer) && views.some((v) => [...v.uses].some(({ node }) => !isForward(node)));
}

/** Groups values that are equal except for numbers in their names. */
function kindsOf(held: readonly Held[]): MemoryKind[] {
  const kinds = new Map<string, MemoryKind>();
  for (const { value, bytes } of held) {
    const op = value.producer?.op ?? '';
    const name = value.name.replace(/(?<![A-Za-z\d])\d+(?![A-Za-z\d])/g, '*');
    const key = `${op} ${name}`;
    const known = kinds.get(key);
    kinds.set(key, { op, name, values: (known?.values ?? 0) + 1, bytes: (known?.bytes ?? 0) + bytes });
  }
  return [...kinds.values()].sort((a, b) => b.bytes - a.bytes || (a.name < b.name ? -1 : 1));
}
