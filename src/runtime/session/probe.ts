/**
 * A child process: `node probe.js PROVIDER` runs one node on the provider and prints `ok`, or the reason of the
 * failure.
 */

import { encodeMessage, toLong } from '../../proto/index.ts';
import { onnxRuntime, ortReason } from './session.ts';

const [, , provider = 'cpu'] = process.argv;
runOn(provider).then(
  () => process.stdout.write('ok'),
  (error) => {
    process.stdout.write(ortReason(error));
    process.exitCode = 1;
  },
);

async function runOn(provider: string): Promise<void> {
  const { InferenceSession, Tensor } = await onnxRuntime();
  const session = await InferenceSession.create(reluModel(), { executionProviders: [provider], logSeverityLevel: 4 });
  await session.run({ x: new Tensor('float32', Float32Array.of(1), [1]) });
}

/** y = Relu(x), float32 [1]. */
function reluModel(): Uint8Array {
  const value = (name: string) => ({
    name,
    type: encodeMessage('TypeProto', {
      tensor_type: { elem_type: 1, shape: { dim: [{ dim_value: toLong(1, 'dim') }] } },
    }),
  });
  return encodeMessage('ModelProto', {
    ir_version: toLong(8, 'ir_version'),
    opset_import: [{ domain: '', version: toLong(13, 'version') }],
    graph: {
      name: 'probe',
      node: [{ op_type: 'Relu', input: ['x'], output: ['y'] }],
      input: [value('x')],
      output: [value('y')],
    },
  });
}
