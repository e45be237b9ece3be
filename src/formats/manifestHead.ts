/** The field of loraify.json that describes a head; with it the head can be put on the source again. */
import { z } from 'zod';
import { headKinds, poolingKinds } from '../graph/choices/heads.ts';
import { dims } from './manifestInputs.ts';

const count = z.int().nonnegative();

export const head = z.object({
  kind: z.enum(headKinds),
  /** The value that the head reads, with its rank and the number of its features. */
  input: z.string(),
  rank: count,
  width: z.int().positive(),
  /** The value is not float32, in which the head computes. */
  cast: z.boolean().optional(),
  /** Dims of the result in front of its features. */
  dims,
  /** The name of its output, and the output of the source whose place it takes. */
  output: z.string(),
  replaced: z.string(),
  /** Absent if a row has one vector, or every position has its own result. */
  pooling: z.enum(poolingKinds).optional(),
  /** The input that is 1 for a token and 0 for padding; `cached`: it also has the positions of a cache. */
  mask: z.string().optional(),
  cached: z.boolean().optional(),
  /** Absent for an embedding without a Linear. */
  linear: z.object({ path: z.string(), size: z.int().positive(), bias: z.boolean(), seed: z.int() }).optional(),
  normalize: z.boolean(),
  /** model_type of the config.json beside the source. */
  family: z.string().optional(),
  /** The reasons for the choices. */
  why: z.string(),
});
