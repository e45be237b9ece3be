/** Lines of a summary: a head, inputs that a compile fixed, and inputs that data files may omit. */
import type { Manifest } from '../index.ts';
import { bytes, plural } from './format.ts';

/** One line for each value, with the inputs that have it. */
export function boundLines(bound: Manifest['bound'] = []): string[] {
  const names = new Map<string, string[]>();
  for (const { name, value } of bound) names.set(value, [...(names.get(value) ?? []), name]);
  return [...names].map(([value, list]) => `${shortList(list)}: ${value}`);
}

const uses = {
  train: 'is trained on: its rank, scale and modules replace the options',
  keep: 'stays as it is, and new branches are trained beside it',
} as const;

/** LoRA that the model already has. */
export const existingLine = ({ use, modules }: NonNullable<Manifest['lora']['existing']>): string =>
  `LoRA on ${shortList(modules)} ${uses[use]}`;

/** A head: its form, what it reads, and its output. */
export function headLine({
  kind,
  pooling,
  linear,
  normalize,
  width,
  output,
  why,
}: NonNullable<Manifest['head']>): string {
  const parts = [
    ...(pooling === undefined ? [] : [`${pooling} pooling`]),
    ...(linear === undefined ? [] : [`a new Linear ${width} -> ${linear.size} ("${linear.path}")`]),
    ...(normalize ? ['L2 normalization'] : []),
  ];
  return `${kind}: ${parts.length === 0 ? 'the value itself' : parts.join(', ')}; output "${output}" (${why})`;
}

function shortList(names: readonly string[]): string {
  return names.length <= 3 ? names.join(', ') : `${names[0]} … ${names.at(-1)} (${names.length})`;
}

const standIns = { ones: '1 for each token', zeros: '0', positions: '0, 1, 2, …', copy: 'the tokens' } as const;

/** The values of inputs that data files may omit; undefined if all are required. */
export function dataLine({ inputs, labels }: Pick<Manifest, 'inputs' | 'labels'>): string | undefined {
  const all = [...inputs, ...(labels === undefined ? [] : [labels])];
  if (all.every((v) => v.missing === undefined)) return undefined;
  return all
    .map(({ name, missing }) => (missing === undefined ? name : `${name} (if missing: ${standIns[missing.value]})`))
    .join(', ');
}

/** The names of the classes. @param isConfig whether they are those of the model's config.json. */
export function labelsLine(names: readonly string[], isConfig: boolean): string {
  const shown = names.slice(0, 10).join(', ');
  const rest = names.length > 10 ? `, ... (${names.length})` : '';
  return `${shown}${rest}${isConfig ? ' (names in config.json); --labels changes them' : ''}`;
}

/** The storage and the computation of rounded weights. */
export function precisionLine({ type, computes, activations, weights, bytes: size, sourceBytes }: Precision): string {
  const stored = `${plural(weights, 'weight')} stored as ${type}, ${bytes(size)} instead of ${bytes(sourceBytes)}`;
  if (activations !== undefined)
    return `${stored}; products with them, and activations and gradients between them, are ${activations}; norms, residual sums, loss, adapter and optimizer float32`;
  if (computes !== 'float32') return `${stored}; products with them compute in ${computes}, everything else in float32`;
  return `${stored}; cast where they are read, everything computes in float32${type === 'bfloat16' ? ' (products and activations in bfloat16 with --for cuda)' : ''}`;
}

type Precision = NonNullable<Manifest['precision']>;

/** Lengths that were fixed, and what becomes of a batch that is not full. */
export function lengthsLine({ batch, seq, dims = {}, wholeBatches }: NonNullable<Manifest['fixed']>): string {
  const named = Object.entries({ batch, seq, ...dims }).flatMap(([name, n]) =>
    n === undefined ? [] : [`${name} ${n}`],
  );
  const rest = wholeBatches === undefined ? '' : `; a batch that is not full is left out, because ${wholeBatches}`;
  return `${named.join(', ')} in the graphs that take steps; evaluation takes any${rest}`;
}

/** Axes that count rows, where they are not the first ones; undefined if they are. */
export function batchLine({ inputs, labels }: Pick<Manifest, 'inputs' | 'labels'>): string | undefined {
  const all = [...inputs, ...(labels === undefined ? [] : [labels])];
  if (all.length === 0 || all.every((v) => v.batchAxis === undefined)) return undefined;
  if (all.every((v) => v.batchAxis === null))
    return 'no axis of the inputs counts rows: each row is one run, and the gradients of --batch-size rows are accumulated; --batch-axis sets another';
  const parts = all.flatMap(({ name, shape, batchAxis: axis }) => {
    if (axis === undefined) return [];
    const text = `${name} [${shape.map((d) => d ?? '?').join(', ')}]`;
    return axis === null ? [`${text} is the same for all rows`] : [`axis ${axis} of ${text} counts rows`];
  });
  return `${parts.join('; ')}; --batch-axis sets others`;
}
