/** What loraify.json says of inputs and labels, and of lengths that the training graphs have fixed. */
import { z } from 'zod';

const count = z.int().nonnegative();
/** A size, a symbol, or null where the model says nothing. */
export const dims = z.array(z.union([count, z.string(), z.null()]));

const valueInfo = z.object({ name: z.string(), type: z.string(), shape: dims });

/** What the runtime puts in where data lack an input: as many entries as the input `like` has in the same row. */
const missing = z.object({
  /** 1 for every token, padding 0; the cumulative sum of the mask minus 1; 0; the elements of `like` themselves. */
  value: z.enum(['ones', 'positions', 'zeros', 'copy']),
  like: z.string(),
});
export const inputInfo = valueInfo.extend({
  /** As eval.onnx takes it, where the graphs that take steps have lengths fixed that the model leaves open. */
  open: dims.optional(),
  missing: missing.optional(),
  /** The most tokens a row may have: the model's caches hold no more. */
  longest: count.optional(),
});

export const fixed = z.object({
  /** Rows of a batch. */
  batch: z.int().positive().optional(),
  /** Positions of a row. */
  seq: z.int().positive().optional(),
  /** By the model's own symbols. */
  dims: z.record(z.string(), z.int().positive()).optional(),
  /** Why a batch cannot be filled up with rows that do not count; absent where it can. */
  wholeBatches: z.string().optional(),
});

export type ValueInfo = z.infer<typeof valueInfo>;
export type InputInfo = z.infer<typeof inputInfo>;

/** The shape that evaluation and prediction take. */
export const openShape = ({ shape, open }: InputInfo): ValueInfo['shape'] => open ?? shape;
