/** Sessions of ONNX Runtime with the settings that training graphs need. The only place that loads onnxruntime-node. */

import { createRequire } from 'node:module';
import type { InferenceSession } from 'onnxruntime-node';
import { runtimeFailed } from '../../errors.ts';

export type Ort = typeof import('onnxruntime-node');

let loading: Promise<Ort> | undefined;

/** ONNX Runtime, loaded on first use. Errors: RUNTIME_FAILED where its native library cannot be loaded. */
export function onnxRuntime(): Promise<Ort> {
  loading ??= import('onnxruntime-node').then(
    (ort) => {
      // Must be said before the first call: providers that cannot start would print to stderr otherwise.
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
  /** One provider; ONNX Runtime adds the CPU's for operators that it lacks. */
  readonly provider: string;
  /** Threads of one operator; absent: one per core. */
  readonly threads?: number | undefined;
  /** Keep no second, packed copy of the weights: half the memory, slower products. */
  readonly disablePrepacking?: boolean | undefined;
  /** Runs are profiled into files whose names start so, until `endProfiling`. */
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

/** The settings of `openSession`, for who measures what they do. */
export function sessionOptions({
  provider,
  threads,
  disablePrepacking,
  profile,
}: SessionSettings): InferenceSession.SessionOptions {
  return {
    executionProviders: [provider],
    graphOptimizationLevel: 'all',
    // One pattern is kept per combination of input shapes, for ever; batches differ in length.
    enableMemPattern: false,
    executionMode: 'sequential',
    interOpNumThreads: 1,
    ...(threads === undefined ? {} : { intraOpNumThreads: threads }),
    logSeverityLevel: 4,
    ...(profile === undefined ? {} : { enableProfiling: true, profileFilePrefix: profile }),
    extra: {
      session: {
        ...(disablePrepacking === true ? { disable_prepacking: '1' } : {}),
        // Weights stay out of the arena, which grows by powers of two.
        use_device_allocator_for_initializers: '1',
        // A product with a DequantizeLinear of 8 bits becomes a MatMulNBits, which by default rounds the activations to 8 bits as well.
        qdq_matmulnbits_accuracy_level: '1',
      },
      // Folding would replace a Cast or DequantizeLinear of a frozen weight by a second, wide copy of it; elimination would keep what a
      // cast gives from the forward to the backward, and one of the two nodes where the backward computes again. Equal nodes of a graph
      // are one already. QuickGeluFusion makes an operator that has kernels of float32 alone (CUDA: float16 too) in any type.
      optimization: {
        disable_specified_optimizers: 'ConstantFolding;CommonSubexpressionElimination;QuickGeluFusion',
      },
    },
  };
}

/** ONNX Runtime's message in one line, without the places in its sources. */
export function ortReason(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const plain = text
    .replace(/^\S*onnxruntime_src\S+:\d+ (?:.*? was false\. )?/s, '')
    .replace(/\s+/g, ' ')
    .trim();
  return plain.length > 600 ? `${plain.slice(0, 600)} ...` : plain;
}
