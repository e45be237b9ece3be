/** Runs two models on the same seeded inputs, to verify a merge. */
import type { InferenceSession, Tensor } from 'onnxruntime-node';
import { stream } from '../../graph/random.ts';
import { halfToNumber, numberToHalf } from '../../graph/tensor.ts';
import { onnxRuntime, ortReason } from './session.ts';

export interface Comparison {
  /**
   * Largest ||a - b|| / ||b|| over the float outputs; undefined if the reference did not run on the generated inputs,
   * or has no such outputs.
   */
  readonly error: number | undefined;
  /** The reason why nothing was compared. */
  readonly reason?: string;
}

/** Values of symbolic dims, tried in order: models differ in what they accept. Detectors halve images five times. */
const lengths = [4, 1, 8, 32] as const;
/** Elements of an input; with more of them, a length is not tried. */
const mostElements = 2 ** 24;

/**
 * Runs `candidate` (a file) and `reference` (a model's bytes, whose external data are in `folder`) on the CPU with
 * graph optimizations off, on inputs generated from a seed: floats are normal, integers 0 or 1, symbolic dims small.
 */
export async function compareModels(
  reference: { bytes: Uint8Array; folder: string },
  candidate: string,
): Promise<Comparison> {
  const ort = await onnxRuntime();
  const common = {
    executionProviders: ['cpu'],
    graphOptimizationLevel: 'disabled',
    enableMemPattern: false,
    logSeverityLevel: 4,
  } as const;
  const session = { use_device_allocator_for_initializers: '1', disable_prepacking: '1' };
  let reason = '';
  let base: InferenceSession;
  try {
    base = await ort.InferenceSession.create(reference.bytes, {
      ...common,
      extra: { session: { ...session, model_external_initializers_file_folder_path: reference.folder } },
    });
  } catch (error) {
    // For example a type without kernels: ONNX Runtime does not load the source either.
    return { error: undefined, reason: notRun(ortReason(error)) };
  }
  try {
    for (const length of lengths) {
      const feeds = madeUp(ort.Tensor, base, length);
      if (feeds === undefined) continue;
      let expected: InferenceSession.ReturnType;
      try {
        expected = await base.run(feeds);
      } catch (error) {
        reason = ortReason(error);
        continue;
      }
      const other = await ort.InferenceSession.create(candidate, { ...common, extra: { session } });
      try {
        const error = worst(await other.run(feeds), expected);
        return error === undefined ? { error, reason: 'none of its outputs has floats to compare' } : { error };
      } finally {
        await other.release();
      }
    }
  } finally {
    await base.release();
  }
  return { error: undefined, reason: notRun(reason) };
}

const notRun = (reason: string): string => `the model did not run on generated inputs (${reason})`;

function madeUp(make: typeof Tensor, session: InferenceSession, length: number): Record<string, Tensor> | undefined {
  const random = stream(0, `compare ${length}`);
  const feeds: Record<string, Tensor> = {};
  for (const meta of session.inputMetadata) {
    if (!meta.isTensor) continue;
    const dims = meta.shape.map((d) => (typeof d === 'number' && d > 0 ? d : length));
    const size = dims.reduce((n, d) => n * d, 1);
    if (size > mostElements) return undefined;
    const integers = (): number[] => Array.from({ length: size }, () => random.integer(2));
    const floats = (): number[] => Array.from({ length: size }, () => random.normal());
    if (meta.type === 'int64') feeds[meta.name] = new make('int64', BigInt64Array.from(integers(), BigInt), dims);
    else if (meta.type === 'int32') feeds[meta.name] = new make('int32', Int32Array.from(integers()), dims);
    else if (meta.type === 'bool')
      feeds[meta.name] = new make(
        'bool',
        Uint8Array.from({ length: size }, () => 1),
        dims,
      );
    else if (meta.type === 'float64') feeds[meta.name] = new make('float64', Float64Array.from(floats()), dims);
    else if (meta.type === 'float32') feeds[meta.name] = new make('float32', Float32Array.from(floats()), dims);
    else if (meta.type === 'uint8') feeds[meta.name] = new make('uint8', Uint8Array.from(integers()), dims);
    else if (meta.type === 'float16')
      feeds[meta.name] = new make('float16', Uint16Array.from(floats(), numberToHalf), dims);
  }
  return feeds;
}

/** Elements of a float tensor, undefined for others. Not every JavaScript engine has Float16Array. */
function floatsOf(tensor: Tensor | undefined): ArrayLike<number> | undefined {
  const data = tensor?.data;
  if (data instanceof Float32Array || data instanceof Float64Array) return data;
  if (tensor?.type !== 'float16' || data === undefined || Array.isArray(data)) return undefined;
  return Float32Array.from<number | bigint>(
    data,
    data instanceof Uint16Array ? (h) => halfToNumber(Number(h)) : Number,
  );
}

/** Undefined if no output has floats. */
function worst(ours: InferenceSession.ReturnType, theirs: InferenceSession.ReturnType): number | undefined {
  let most: number | undefined;
  for (const [name, b] of Object.entries(theirs)) {
    const [ys, xs] = [floatsOf(b), floatsOf(ours[name])];
    if (ys === undefined || ys.length === 0) continue;
    if (xs?.length !== ys.length) return Number.NaN;
    let [difference, norm] = [0, 0];
    for (let i = 0; i < ys.length; i++) {
      const [x, y] = [xs[i] ?? Number.NaN, ys[i] ?? Number.NaN];
      // Masked scores are -inf in both.
      if (x !== y) difference += (x - y) ** 2;
      if (Number.isFinite(y)) norm += y ** 2;
    }
    const error = difference === 0 ? 0 : Math.sqrt(difference / norm);
    if (Number.isNaN(error)) return Number.NaN;
    most = Math.max(most ?? 0, error);
  }
  return most;
}
