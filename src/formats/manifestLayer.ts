/** The fields of loraify.json that describe layers, modules_to_save weights and copies of weights. */
import { z } from 'zod';

const count = z.int().nonnegative();

/** A tensor inside the flat vector; `offset` counts float32 elements. */
const slot = z.object({ name: z.string(), offset: count, shape: z.array(count) });

export const layer = z.object({
  path: z.string(),
  /** The module's path in PEFT's files, if the adapter that it came from has another. */
  peft: z.string().optional(),
  /** The node's name, or its first output if it has no name. */
  node: z.string(),
  op: z.string(),
  /** The initializer that a merge changes. */
  weight: z.string(),
  nodes: z.array(z.string()),
  layout: z.enum(['in_out', 'out_in']),
  in: count,
  out: count,
  rank: z.int().positive(),
  alpha: z.number(),
  /** The factor on (x·A)·B. */
  scale: z.number(),
  /** The kernel shape of a convolution. */
  kernel: z.array(count).optional(),
  /** The columns of the weight that the layer has, if not all: the first, and one past the last. */
  columns: z.array(count).length(2).optional(),
  /** [in, rank]; for a Conv [rank, in, kernel…]. */
  A: slot,
  /** [rank, out]; for a Conv [out, rank, 1…]. */
  B: slot,
  /** [out], for a DoRA layer: y = magnitude / ||W + scale·A·B|| · (x·W + scale·(x·A)·B) + bias. */
  magnitude: slot.optional(),
});

/** A fully trained weight (modules_to_save): an initializer of model.onnx. */
export const saved = slot.extend({
  /** The name in PEFT: module path, dot, `weight` or `bias`. */
  parameter: z.string(),
  /** The same in PEFT's files, if the adapter that it came from has another. */
  peft: z.string().optional(),
  /** The initializer of the source, if model.onnx has a copy for this module alone. */
  weight: z.string().optional(),
  /** The weight is stored as the transpose of torch's. */
  turned: z.boolean().optional(),
});

/** A weight that the source holds again for another use of its layer. */
export const copy = z.object({
  weight: z.string(),
  of: z.string(),
  /** It is the transpose of the other. */
  transposed: z.boolean().optional(),
});

export type ManifestLayer = z.infer<typeof layer>;
export type ManifestSaved = z.infer<typeof saved>;

/** The path of a layer's module in PEFT's files. */
export const peftPath = ({ path, peft }: Pick<ManifestLayer, 'path' | 'peft'>): string => peft ?? path;
/** The name of a modules_to_save weight in PEFT's files. */
export const peftParameter = ({ parameter, peft }: Pick<ManifestSaved, 'parameter' | 'peft'>): string =>
  peft ?? parameter;
