import type { z } from 'zod';
import { adapterInputs, exportFormats } from '../../graph/choices/package.ts';
import type { ExportOptions } from '../../index.ts';
import { command } from '../command.ts';
import { choice, flag, text } from '../options.ts';
import { adapterOptions, outputFile, packageArgument, sourceOption } from '../runtimeOptions.ts';

const exportOptions = {
  ...adapterOptions,
  ...outputFile,
  ...sourceOption,
  format: choice(exportFormats, { describe: 'format to write', default: 'peft' }),
  prefix: text({
    describe:
      'with --format peft: path of the body in the class that loads the adapter, such as bert or model; none: no prefix',
    default: 'that of the family in config.json, if its class has the head',
  }),
  inputs: choice(adapterInputs, { describe: 'with --format onnx: form of the adapter in the model', default: 'baked' }),
  strength: flag({ describe: 'with --format onnx: a scalar input lora_strength that all branches are multiplied by' }),
} satisfies Readonly<Record<keyof ExportOptions, z.ZodType>>;

export const exportCommand = command({
  usage: 'export <package>',
  describe: 'write an adapter for another tool, or a model to serve',
  examples: [
    'loraify export model.lora --format peft -o adapter',
    'loraify export model.lora --format onnx --inputs optional -o served.onnx',
  ],
  options: {
    ...packageArgument,
    ...exportOptions,
  },
  async run({ package: directory, format = 'peft', ...options }, out) {
    const { exportAdapter } = await import('../../index.ts');
    const result = await exportAdapter(directory, { ...options, format });
    for (const note of result.warnings) out.warn(note);
    const where = result.dataFile === undefined ? result.out : `${result.out} and ${result.dataFile}`;
    const strength = result.strength === undefined ? '' : `, strength in "${result.strength}"`;
    out.result(
      `wrote ${where}${result.inputs === undefined ? '' : `: ${adapterInputs[result.inputs].summary}${strength}`}`,
      result,
    );
    return 0;
  },
});
