/** Decides everything about a head from the model and the options. */
import { badOption } from '../../errors.ts';
import { type HeadKind, heads, type Pooling } from '../../graph/choices/heads.ts';
import { cloneModel } from '../../graph/clone.ts';
import { type Dim, freshName, graphsOf, type Model, namesIn, type Value } from '../../graph/model.ts';
import { shapeText } from '../../graph/shapeText.ts';
import { isFloat } from '../../graph/tensor.ts';
import { rankOfName } from '../normalize/batchNames.ts';
import { chooseInput, classesOf, type HeadPlace, separateRows } from './chooseInput.ts';
import { cutBehind } from './cutBehind.ts';
import { factsOf, isDecoder, maskOf, type SourceFacts, typeOf } from './facts.ts';
import { headFamily } from './families.ts';
import type { HeadLinear, HeadPlan } from './plan.ts';

export interface HeadRequest {
  readonly kind: HeadKind;
  /** The value that the head reads; absent: chosen. */
  readonly input?: string | undefined;
  readonly pooling?: Pooling | undefined;
  /** The pooling that the files beside the model have for embeddings. */
  readonly usual?: Pooling | undefined;
  /** The number of classes; absent: that of a layer that the head replaces. */
  readonly classes?: number | undefined;
  /** The outputs of an embedding's Linear; absent: it has none. */
  readonly size?: number | undefined;
  readonly normalize: boolean;
  readonly seed: number;
  /** model_type of the config.json. */
  readonly family?: string | undefined;
  /** The Linear that an adapter brings the weights of. */
  readonly saved?: Pick<HeadLinear, 'path' | 'size' | 'bias'> | undefined;
}

export interface PlannedHead {
  readonly plan: HeadPlan;
  readonly warnings: readonly string[];
}

/** `source` is not changed. Errors: BAD_OPTION if the model has no place for such a head. */
export function planHead(source: Model, request: HeadRequest): PlannedHead {
  const { kind, normalize } = request;
  const found = chooseInput(source, request.input);
  const facts = factsOf(source, [found.value, ...(found.unjoined === undefined ? [] : [found.unjoined])]);
  const place = { ...found, value: separateRows(found, facts) };
  const { rank, width, shape } = formOf(place.value, facts, kind);
  if (!isFloat(typeOf(facts, place.value)))
    throw badOption(
      `--head: "${place.value.name}", which the head would read, is ${typeOf(facts, place.value)}`,
      nameIt,
    );
  const decoder = decides(facts, place.value, request.family);
  const pooling = poolingOf(facts, rank, decoder, request);
  const mask = pooling === undefined || pooling.kind === 'cls' || rank !== 3 ? undefined : maskOf(facts, place.value);
  const unit = heads[kind].outputs === 'size' && normalize;
  checkOpset(source, pooling !== undefined && typeof mask === 'object' ? pooling.kind : undefined, unit);
  const names = namesLeft(source, place);
  const linear = linearOf(names, place, decoder.is, request);
  const plan: HeadPlan = {
    kind,
    input: place.value.name,
    rank,
    width,
    cast: typeOf(facts, place.value) === 'float32' ? undefined : true,
    dims: resultDims(place, shape, facts, pooling !== undefined || rank === 2),
    output: freshName(heads[kind].output, names),
    replaced: place.output.name,
    pooling: pooling?.kind,
    ...(typeof mask === 'object' ? { mask: mask.name, cached: mask.cached ? true : undefined } : {}),
    linear,
    normalize: unit,
    family: request.family,
    why: [`it reads ${place.why}`, ...(pooling === undefined ? [] : [`pooling ${pooling.kind}: ${pooling.why}`])].join(
      '; ',
    ),
  };
  return { plan, warnings: maskWarnings(facts, plan, mask) };
}

/** The opsets that poolings with a mask need: those of Max with a broadcast, Where, ArgMax of the last index. */
const oldest = { cls: 0, mean: 8, max: 9, last: 12 } as const;

function checkOpset({ opsets }: Model, masked: Pooling | undefined, unit: boolean): void {
  const opset = opsets.get('') ?? 0;
  const needed = Math.max(masked === undefined ? 0 : oldest[masked], unit ? oldest.mean : 0);
  if (opset < needed)
    throw badOption(
      `--head: ${masked === undefined ? 'the normalization' : `--pooling ${masked}`} needs opset ${needed}, the model has ${opset}`,
      'choose another --pooling, or convert the model (onnx.version_converter)',
    );
}

const nameIt = 'name the hidden states or the features with --head-input';

interface StatesForm {
  readonly rank: number;
  readonly width: number;
  readonly shape: NonNullable<Value['shape']>;
}

function formOf(value: Value, facts: SourceFacts, kind: HeadKind): StatesForm {
  const { shape } = facts.of(value);
  const what = `"${value.name}", which the head would read,`;
  if (shape === undefined) throw badOption(`--head: ${what} has an unknown rank`, nameIt);
  const rank = shape.length;
  const width = rank === 4 ? shape[1] : shape.at(-1);
  const text = shapeText(shape);
  if (rank < 2 || rank > 4)
    throw badOption(`--head: ${what} is ${text}, not [N, S, width], [N, width] or [N, C, H, W]`, nameIt);
  if (typeof width !== 'number' || width < 1)
    throw badOption(`--head: ${what} is ${text}, whose number of features is not known`, nameIt);
  if (!heads[kind].pools && rank !== 3)
    throw badOption(`--head ${kind}: ${what} is ${text}, and has no positions [N, S, width]`, nameIt);
  const [rows = null, positions = null] = shape;
  // The product of two symbols counts the positions of all rows.
  if (rank === 2 && typeof rows === 'string' && rows.includes('*'))
    throw badOption(`--head: ${what} is ${text}, and does not keep the rows of a batch apart`, nameIt);
  if (rank === 3 && (isSequenceFirst(facts, rows, positions) || rankOfName(positions) > rankOfName(rows)))
    throw badOption(
      `--head: ${what} is ${text}, with the positions before the rows`,
      'a head takes rows first: export the model batch-first, or name a value [N, S, width] with --head-input',
    );
  return { rank, width, shape };
}

/** Whether the axes are those of the tokens, the other way around. */
const isSequenceFirst = ({ tokens }: SourceFacts, rows: Dim, positions: Dim): boolean =>
  typeof rows === 'string' && rows !== positions && tokens?.shape?.[0] === positions && tokens?.shape?.[1] === rows;

/** Whether tokens depend on earlier ones only: by the graph, else by the family. */
function decides(
  facts: SourceFacts,
  states: Value,
  family: string | undefined,
): { readonly is: boolean; readonly why: string } {
  const found = isDecoder(facts, states);
  if (found !== undefined) return found;
  const known = headFamily(family);
  return known === undefined
    ? { is: false, why: 'no attention shows that tokens depend on earlier ones only' }
    : { is: known.decoder === true, why: `config.json says ${family}` };
}

interface Chosen {
  readonly kind: Pooling;
  readonly why: string;
}

function poolingOf(
  { graph, tokens }: SourceFacts,
  rank: number,
  decoder: { readonly is: boolean; readonly why: string },
  { kind, pooling: given, usual }: HeadRequest,
): Chosen | undefined {
  if (!heads[kind].pools) return undefined;
  if (rank === 2) {
    if (given === undefined) return undefined;
    throw badOption(
      `--pooling ${given}: the head reads one vector for each row, so there is nothing to pool`,
      'leave it out, or name hidden states [N, S, width] with --head-input',
    );
  }
  if (rank === 4 && (given === 'cls' || given === 'last'))
    throw badOption(`--pooling ${given}: a map of features [N, C, H, W] has no such position`, 'use mean or max');
  if (given !== undefined) return { kind: given, why: 'as requested' };
  const pick = (chosen: Pooling, why: string): Chosen => ({ kind: chosen, why: `${why}; --pooling changes it` });
  if (rank === 4) return pick('mean', 'a map of features');
  if (kind === 'embedding' && usual !== undefined) return pick(usual, 'as in 1_Pooling/config.json');
  if (decoder.is) return pick('last', `a decoder (${decoder.why})`);
  if (kind === 'embedding') return pick('mean', 'usual for embeddings of an encoder');
  if (tokens !== undefined) return pick('cls', 'an encoder of tokens');
  return graph.inputs.some((v) => v.shape?.length === 4)
    ? pick('cls', 'an encoder of images')
    : pick('mean', 'neither tokens nor images go in');
}

function linearOf(
  names: ReadonlySet<string>,
  place: HeadPlace,
  decoder: boolean,
  { kind, classes, size, seed, saved }: HeadRequest,
): HeadLinear | undefined {
  const { outputs } = heads[kind];
  const wanted = outputs === 'one' ? 1 : outputs === 'size' ? size : (classes ?? saved?.size ?? classesOf(place));
  if (outputs === 'classes' && wanted === undefined)
    throw badOption(
      `--head ${kind}: the number of classes is not known`,
      'give it, or the names of the classes, with --labels',
    );
  if (wanted === undefined) return undefined;
  if (saved !== undefined) return { ...saved, size: wanted, seed };
  const taken = { has: (path: string) => [...names].some((n) => n.startsWith(`${path}.`)) };
  // As in transformers: a decoder's class for sequences has no bias, its class for tokens has one.
  const bias = !decoder || !heads[kind].pools;
  return { path: freshName(decoder ? 'score' : 'classifier', taken), size: wanted, bias, seed };
}

/** The names of all values that are left when the source ends at the value that the head reads. */
function namesLeft(source: Model, { value, output }: HeadPlace): Set<string> {
  const { model, map } = cloneModel(source);
  const [from, to] = [map.values.get(value), map.values.get(output)];
  if (from !== undefined && to !== undefined) cutBehind(model.graph, from, to);
  return namesIn(graphsOf(model));
}

/** The dims in front of the features, by the names that the source's own interface has for them. */
function resultDims(
  { value }: HeadPlace,
  shape: StatesForm['shape'],
  { graph, tokens }: SourceFacts,
  perRow: boolean,
): HeadPlan['dims'] {
  const known = new Set(graph.inputs.flatMap((v) => v.shape ?? []));
  return shape.slice(0, perRow ? 1 : 2).map((d, i) => {
    const declared = value.shape?.[i];
    if (typeof declared === 'string' || typeof declared === 'number') return declared;
    if (d !== null && (typeof d === 'number' || known.has(d))) return d;
    return i === 0 ? (tokens?.shape?.[0] ?? null) : null;
  });
}

function maskWarnings(
  { tokens, graph }: SourceFacts,
  { pooling, rank, mask, input }: HeadPlan,
  found: ReturnType<typeof maskOf>,
): string[] {
  if (pooling === undefined || pooling === 'cls' || rank !== 3 || mask !== undefined) return [];
  if (typeof found === 'string')
    return [
      `pooling ${pooling} counts all positions of "${input}": ${found}; rows of one batch should have one length`,
    ];
  const isText = tokens !== undefined && graph.inputs.every((v) => v.shape?.length !== 4);
  return isText
    ? [
        `pooling ${pooling} counts all positions, padding included, because the model has no attention mask; rows of one batch should have one length`,
      ]
    : [];
}
