/** The fields of loraify.json that describe inputs, labels, and dims that are fixed in the training graphs. */
import { z } from 'zod';
import type { LengthLimit, TableRange } from '../graph/tables.ts';

const count = z.int().nonnegative();
/** A size, a symbol, or null for an unknown dim. */
export const dims = z.array(z.union([count, z.string(), z.null()]));

const valueInfo = z.object({ name: z.string(), type: z.string(), shape: dims });

/** The value that the runtime feeds if the data lack an input: with the size of the input `like` in the same row. */
const missing = z.object({
  /** 1 for every token, padding 0; the cumulative sum of the mask minus 1; 0; the elements of `like` themselves. */
  value: z.enum(['ones', 'positions', 'zeros', 'copy']),
  like: z.string(),
});
/** A table that elements of an input are indices of. */
const tableRange: z.ZodType<TableRange> = z.object({
  table: z.string(),
  entries: count,
  least: z.int(),
  part: z.object({ axis: count, from: z.int(), to: z.int().optional() }).optional(),
});
/** The length of a row for which a table has entries. */
const lengthLimit: z.ZodType<LengthLimit> = z.object({
  table: z.string(),
  axis: count,
  most: count,
  except: z.number().optional(),
  unless: z.string().optional(),
});
/** The axis that counts the rows of a batch; null: none, so that the value is the same for all of them. */
const batchAxis = z.union([count, z.null()]);
export const inputInfo = valueInfo.extend({
  /** Absent: the first. */
  batchAxis: batchAxis.optional(),
  /** The shape in eval.onnx, if the graphs that take steps fix dims that are open in the model. */
  open: dims.optional(),
  missing: missing.optional(),
  /** The maximum number of tokens in a row, which is the size of the model's caches. */
  longest: count.optional(),
  tables: z.array(tableRange).optional(),
  lengths: z.array(lengthLimit).optional(),
});

/** Outputs whose batch axis is not the first. */
export const outputInfo = z.object({ name: z.string(), batchAxis });

export const labelsInfo = inputInfo.extend({
  /** The names of the classes, in their order. */
  names: z.array(z.string()).optional(),
});

export const fixed = z.object({
  /** The fixed number of rows in a batch. */
  batch: z.int().positive().optional(),
  /** The fixed number of positions in a row. */
  seq: z.int().positive().optional(),
  /** Fixed dims by the model's own symbols. */
  dims: z.record(z.string(), z.int().positive()).optional(),
  /** The reason why a batch cannot be padded with ignored rows; absent if it can. */
  wholeBatches: z.string().optional(),
});

export type ValueInfo = z.infer<typeof valueInfo>;
export type InputInfo = z.infer<typeof inputInfo>;
export type LabelsInfo = z.infer<typeof labelsInfo>;

/** The axis that counts the rows of a batch; null: none. */
export const batchAxisOf = ({ batchAxis = 0 }: Pick<InputInfo, 'batchAxis'>): number | null => batchAxis;

/** The shape in evaluation and prediction. */
export const openShape = ({ shape, open }: InputInfo): ValueInfo['shape'] => open ?? shape;
