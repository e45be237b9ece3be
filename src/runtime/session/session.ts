/** Sessions of ONNX Runtime with the settings of training graphs. The only file that loads onnxruntime-node. */

import { createRequire } from 'node:module';
import type { InferenceSession } from 'onnxruntime-node';
import { runtimeFailed } from '../../errors.ts';

export type Ort = typeof import('onnxruntime-node');

let loading: Promise<Ort> | undefined;

/** ONNX Runtime, loaded on first use. Errors: RUNTIME_FAILED if its native library cannot be loaded. */
export function onnxRuntime(): Promise<Ort> {
  loading ??= import('onnxruntime-node').then(
    (ort) => {
      // Must be set before the first call: otherwise providers that cannot start print to stderr.
      ort.env.logLevel = 'fatal';
      return ort;
    },
    (error: unknown) => {
      throw runtimeFailed(`onnxruntime-node cannot be loaded: ${ortReason(error)}`);
    },
  );
  return loading;
}

/** The version of onnxruntime-node that is installed. */
export function onnxRuntimeVersion(): string {
  const found: unknown = createRequire(import.meta.url)('onnxruntime-node/package.json');
  const version = typeof found === 'object' && found !== null && 'version' in found ? found.version : undefined;
  return typeof version === 'string' ? version : 'unknown';
}

export interface SessionSettings {
  /** One provider; ONNX Runtime uses the CPU provider for operators that it lacks. */
  readonly provider: string;
  /** The number of threads of one operator; absent: one per core. */
  readonly threads?: number | undefined;
  /** Disables prepacked copies of the weights: half the memory, slower MatMuls. */
  readonly disablePrepacking?: boolean | undefined;
  /** The prefix of profile files; runs are profiled until `endProfiling`. */
  readonly profile?: string | undefined;
}

/** Opens a graph file; external data is mapped from beside it. Errors: RUNTIME_FAILED. */
export async function openSession(file: string, settings: SessionSettings): Promise<InferenceSession> {
  const ort = await onnxRuntime();
  try {
    return await ort.InferenceSession.create(file, sessionOptions(settings));
  } catch (error) {
    throw runtimeFailed(`ONNX Runtime cannot load "${file}": ${ortReason(error)}`, file);
  }
}

/** The settings of `openSession`, exported for benchmarks. */
export function sessionOptions({
  provider,
  threads,
  disablePrepacking,
  profile,
}: SessionSettings): InferenceSession.SessionOptions {
  return {
    executionProviders: [provider],
    graphOptimizationLevel: 'all',
    // One pattern per combination of input shapes is kept forever, and batches differ in length.
    enableMemPattern: false,
    executionMode: 'sequential',
    interOpNumThreads: 1,
    ...(threads === undefined ? {} : { intraOpNumThreads: threads }),
    logSeverityLevel: 4,
    ...(profile === undefined ? {} : { enableProfiling: true, profileFilePrefix: profile }),
    extra: {
      session: {
        ...(disablePrepacking === true ? { disable_prepacking: '1' } : {}),
        // Keeps weights out of the arena, which grows by powers of two.
        use_device_allocator_for_initializers: '1',
        // A MatMul with an 8-bit DequantizeLinear becomes a MatMulNBits, which by default also rounds the activations
        // to 8 bits.
        qdq_matmulnbits_accuracy_level: '1',
      },
      // Constant folding would replace a Cast or DequantizeLinear of a frozen weight with a second, float32 copy of it;
      // common subexpression elimination would keep the result of a cast from the forward to the backward, and merge a
      // rematerialized node with the original. Equal nodes of a graph are merged already. QuickGeluFusion makes an
      // operator that has only float32 kernels (CUDA: float16 too) in any type.
      optimization: {
        disable_specified_optimizers: 'ConstantFolding;CommonSubexpressionElimination;QuickGeluFusion',
      },
    },
  };
}

/** ONNX Runtime's message in one line, without source locations. */
export function ortReason(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const plain = text
    .replace(/^\S*onnxruntime_src\S+:\d+ (?:.*? was false\. )?/s, '')
    .replace(/\s+/g, ' ')
    .trim();
  return plain.length > 600 ? `${plain.slice(0, 600)} ...` : plain;
}
