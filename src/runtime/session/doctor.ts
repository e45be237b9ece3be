/** Reports the versions and execution providers of this machine. */

import { availableParallelism, totalmem } from 'node:os';
import { howToGet, probeProvider } from './providers.ts';
import { onnxRuntime, onnxRuntimeVersion } from './session.ts';

export interface DoctorReport {
  readonly node: string;
  readonly platform: string;
  readonly cores: number;
  /** Bytes. */
  readonly memory: number;
  readonly onnxruntime: string;
  readonly providers: readonly {
    readonly name: string;
    readonly ok: boolean;
    readonly reason?: string;
    /** The way to get it. */
    readonly hint?: string;
  }[];
}

/**
 * Versions, and the result of probing each execution provider that onnxruntime-node supports on this platform. Errors:
 * RUNTIME_FAILED.
 */
export async function doctor(): Promise<DoctorReport> {
  const { listSupportedBackends } = await onnxRuntime();
  const names = listSupportedBackends().map(({ name }) => name);
  const providers = await Promise.all(
    names.map(async (name) => {
      const state = await probeProvider(name);
      return state.ok ? { name, ok: true } : { name, ok: false, reason: state.reason, hint: howToGet(name) };
    }),
  );
  return {
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
    cores: availableParallelism(),
    memory: totalmem(),
    onnxruntime: onnxRuntimeVersion(),
    providers,
  };
}
