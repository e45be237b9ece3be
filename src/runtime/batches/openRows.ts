/** Opens the rows for a graph of a package: the inputs that it needs from a data file, and the batch size. */

import { badOption } from '../../errors.ts';
import {
  batchAxisOf,
  type GraphKind,
  type InputInfo,
  type Manifest,
  openShape,
  reportsLoss,
} from '../../formats/manifest.ts';
import { graphs } from '../../graph/choices/compile.ts';
import { losses, noLabel } from '../../graph/choices/losses.ts';
import {
  type BatchOptions,
  batch,
  type DataSpec,
  type Dataset,
  type FieldSpec,
  type LabelRule,
  openData,
  type PlainRow,
  rowsDataset,
} from '../data/index.ts';
import type { TextOptions } from '../text/openText.ts';
import { type TextDataset, type TextPackage, textData } from '../text/textData.ts';
import type { Engine } from '../worker/engine.ts';

/** A data file by its name, rows in memory, or an open dataset. */
export type Data = string | Iterable<PlainRow> | Dataset;

export interface RowOptions {
  /** Default 8, or the size that the graphs fix. */
  readonly batchSize?: number | undefined;
  /** The column of the labels, instead of the manifest's name, `labels` or `label`. */
  readonly labelColumn?: string | undefined;
  /** Open axes are truncated to this size. */
  readonly maxLength?: number | undefined;
  /** Allows NaN in inputs. By default NaN is refused. */
  readonly allowNan?: boolean | undefined;
  /** The padding of short rows, by input; 0 by default, the ignore index for labels. */
  readonly pad?: Readonly<Record<string, number>> | undefined;
  /** The column of texts, instead of `text` or `sentence`, for packages with a tokenizer. */
  readonly textColumn?: string | undefined;
  /** The column of the second texts of pairs, instead of `text_pair` or `sentence2`. */
  readonly textPairColumn?: string | undefined;
  /** Counts only the tokens of `completion`, not those of `prompt`. Default true. */
  readonly completionOnly?: boolean | undefined;
  /** Counts only the tokens of the assistant's turns in `messages`. Default false. */
  readonly assistantOnly?: boolean | undefined;
  /** Called with notices for the user that are not errors, such as columns of the data that are left out. */
  readonly onNotice?: ((text: string) => void) | undefined;
}

export interface Rows {
  readonly dataset: Dataset;
  readonly batchSize: number;
  /** The graphs fix the batch size, and batches cannot be padded. */
  readonly fixedBatch: boolean;
  /** The rows of a step that run one by one, because no input has a batch axis; batchSize is 1. */
  readonly oneByOne?: number | undefined;
  /** The reason why batches cannot be padded, if it is known. */
  readonly leavesOut?: string | undefined;
  readonly batch: BatchOptions;
  /** Closes the data if this call opened it. */
  close(): void;
}

/**
 * Opens data for a graph: the model's inputs that it reads, and labels if it takes them. Errors: FILE_NOT_FOUND,
 * BAD_DATA, BAD_OPTION for a batch size that the graphs do not allow, those of the engine.
 */
export async function openRows(
  engine: Engine,
  graph: GraphKind,
  data: Data,
  options: RowOptions & { readonly withLabels?: boolean },
): Promise<Rows> {
  const { manifest } = engine;
  const { inputs } = await engine.describe(graph);
  const read = manifest.inputs.filter(({ name }) => inputs.includes(name));
  const takesSteps = graphs[graph].backward;
  const named = manifest.labels;
  const labels = options.withLabels !== false && named !== undefined && inputs.includes(named.name) ? named : undefined;
  const size = (takesSteps ? fixedSize(manifest, options.batchSize) : undefined) ?? {
    ...batchSizeOf(
      (labels === undefined ? read : [...read, labels]).map((v) => ({ ...v, shape: openShape(v) })),
      options.batchSize,
      manifest.fixed?.batch,
    ),
    fill: undefined,
  };
  const usual = {
    maxLength: options.maxLength,
    ignoreIndex: manifest.loss?.ignoreIndex,
    // Gradients that are fed instead of labels are 0 for padding.
    ignoreValue: takesSteps && manifest.fixed !== undefined && reportsLoss(manifest.loss) ? noLabel : undefined,
    rows: size.fill,
  };
  // A longer row is allowed if it is truncated anyway.
  const most = options.maxLength ?? Number.POSITIVE_INFINITY;
  const limits = ({ longest = 0, lengths }: InputInfo): Pick<FieldSpec, 'longest' | 'lengths'> => ({
    longest: most <= longest || longest === 0 ? undefined : longest,
    lengths: lengths?.filter((l) => most > l.most),
  });
  const shapes = ({ shape, open, batchAxis = 0 }: InputInfo): Pick<FieldSpec, 'shape' | 'fixed' | 'isCut'> => {
    if (open === undefined) return { shape };
    const own = shape.filter((d, i) => i !== batchAxis && d !== open[i]);
    return takesSteps ? { shape: open, fixed: shape, isCut: own.every((d) => most <= Number(d)) } : { shape: open };
  };
  const spec = {
    inputs: read.map((v) => ({ ...v, ...limits(v), ...shapes(v) })),
    labels: labels && { ...labels, ...shapes(labels), rule: labelRule(manifest) },
  };
  const given = {
    ...options,
    ignoreIndex: manifest.loss?.ignoreIndex,
    unread: [...manifest.inputs.filter((v) => !read.includes(v)), ...(manifest.bound ?? [])].map((v) => v.name),
  };
  const textPackage = { directory: engine.directory, manifest, inputs: read };
  const { dataset, pad } = await open(data, textPackage, spec, given);
  const batchOptions = { ...usual, pad: { ...pad, ...options.pad } };
  try {
    // Checks pad values and lengths before the rows are used.
    batch(dataset, [0], batchOptions);
  } catch (error) {
    if (dataset !== data) dataset.close();
    throw error;
  }
  return { ...size, dataset, batch: batchOptions, close: () => (dataset === data ? undefined : dataset.close()) };
}

/** The batch size of the compile (--batch). Errors: BAD_OPTION. */
function fixedSize(
  { fixed }: Manifest,
  wanted: number | undefined,
): (Pick<Rows, 'batchSize' | 'fixedBatch' | 'leavesOut'> & { readonly fill: number | undefined }) | undefined {
  const size = fixed?.batch;
  if (size === undefined) return undefined;
  if (wanted !== undefined && wanted !== size)
    throw badOption(
      `the package is compiled for batches of ${size} rows (--batch), not of ${wanted}`,
      `use --batch-size ${size}, or compile again with --batch ${wanted}`,
    );
  const { wholeBatches: leavesOut } = fixed ?? {};
  const isWhole = leavesOut !== undefined;
  return { batchSize: size, fixedBatch: isWhole, leavesOut, fill: isWhole ? undefined : size };
}

function labelRule({ loss, labels }: Manifest): LabelRule | undefined {
  if (loss === undefined) return undefined;
  const { over, share } = losses[loss.kind];
  if (over === 'classes')
    return { kind: 'class', classes: loss.classes, ignoreIndex: loss.ignoreIndex, names: labels?.names };
  return share === true ? { kind: 'share' } : undefined;
}

/** Opens data, with the padding of token ids where rows are text. */
async function open(
  data: Data,
  textPackage: TextPackage,
  spec: DataSpec,
  options: TextOptions,
): Promise<Pick<TextDataset, 'dataset'> & Partial<TextDataset>> {
  if (typeof data !== 'string' && isDataset(data)) return { dataset: data };
  const rows = typeof data === 'string' ? data : Array.from(data);
  const text = await textData(rows, textPackage, spec, options);
  if (text !== undefined) return text;
  return { dataset: typeof rows === 'string' ? await openData(rows, spec, options) : rowsDataset(rows, spec, options) };
}

function isDataset(data: Exclude<Data, string>): data is Dataset {
  return 'row' in data && 'fields' in data;
}

/** The default number of rows in a batch. */
export const usualBatch = 8;

/** Whether no value has a batch axis: each row is a run. */
export const hasNoBatch = (values: readonly InputInfo[]): boolean =>
  values.length > 0 && values.every((v) => batchAxisOf(v) === null);

/** The batch size. Errors: BAD_OPTION. */
export function batchSizeOf(
  values: readonly InputInfo[],
  wanted: number | undefined,
  usual = usualBatch,
): Pick<Rows, 'batchSize' | 'fixedBatch' | 'oneByOne'> {
  if (wanted !== undefined && !(Number.isSafeInteger(wanted) && wanted > 0)) {
    throw badOption(`the batch size must be a positive integer, not ${wanted}`);
  }
  if (hasNoBatch(values)) return { batchSize: 1, fixedBatch: false, oneByOne: wanted ?? usual };
  for (const value of values) {
    const { name, shape } = value;
    const rows = shape[batchAxisOf(value) ?? -1];
    if (typeof rows !== 'number') continue;
    if (wanted !== undefined && wanted !== rows) {
      throw badOption(`the model fixes the batch size of "${name}" to ${rows}`, `use --batch-size ${rows}`);
    }
    return { batchSize: rows, fixedBatch: true };
  }
  return { batchSize: wanted ?? usual, fixedBatch: false };
}
