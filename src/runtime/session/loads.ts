/** Whether ONNX Runtime loads a file, without optimizing or running it: external weights are mapped, not read. */

import { onnxRuntime, ortReason } from './session.ts';

/**
 * ONNX Runtime's reason for refusing a file; undefined if it loads. Operators without a kernel on
 * the CPU do not count: another provider may have one. Errors: RUNTIME_FAILED if ONNX Runtime itself cannot be loaded.
 */
export async function refusal(file: string): Promise<string | undefined> {
  const { InferenceSession } = await onnxRuntime();
  try {
    const session = await InferenceSession.create(file, {
      executionProviders: ['cpu'],
      graphOptimizationLevel: 'disabled',
      intraOpNumThreads: 1,
      interOpNumThreads: 1,
      enableCpuMemArena: false,
      logSeverityLevel: 4,
      extra: { session: { disable_prepacking: '1', use_device_allocator_for_initializers: '1' } },
    });
    await session.release();
    return undefined;
  } catch (error) {
    const reason = ortReason(error);
    return /could not find an implementation|NOT_IMPLEMENTED/i.test(reason) ? undefined : reason;
  }
}
