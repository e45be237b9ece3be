import { command } from './command.ts';
import { choice, flag } from './options.ts';
import { adapterOptions, outputFile, packageArgument, sourceOption } from './runtimeOptions.ts';

export const exportCommand = command({
  usage: 'export <package>',
  describe: 'an adapter in the form of another tool, or a model that is ready to be served',
  options: {
    ...packageArgument,
    ...adapterOptions,
    ...outputFile,
    ...sourceOption,
    format: choice(['peft', 'onnx_adapter', 'safetensors', 'onnx'], {
      describe:
        'a PEFT directory, a file for the adapter API of ONNX Runtime, the same tensors as safetensors, or a model',
      default: 'peft',
    }),
    inputs: choice(['baked', 'required', 'optional'], {
      describe: 'with onnx, the adapter is inside the model, an input, or an input with an empty default',
      default: 'baked',
    }),
    strength: flag({ describe: 'with onnx, a scalar input lora_strength that all branches are multiplied by' }),
  },
  async run({ package: directory, format = 'peft', ...options }, out) {
    const { exportAdapter } = await import('../index.ts');
    const result = await exportAdapter(directory, { ...options, format });
    for (const text of result.warnings) out.warn(text);
    const where = result.dataFile === undefined ? result.out : `${result.out} and ${result.dataFile}`;
    const strength = result.strength === undefined ? '' : `, strength in "${result.strength}"`;
    const adapter = {
      baked: 'adapter inside',
      required: 'adapter as required inputs',
      optional: 'adapter as optional inputs',
    };
    out.result(`wrote ${where}${result.inputs === undefined ? '' : `: ${adapter[result.inputs]}${strength}`}`, result);
    return 0;
  },
});
