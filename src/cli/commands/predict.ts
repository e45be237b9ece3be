import { command } from '../command.ts';
import { plural } from '../format.ts';
import { adapterOptions, dataOptions, outputFile, packageArgument, runtimeOptions } from '../runtimeOptions.ts';

export const predictCommand = command({
  usage: 'predict <package>',
  describe: "write the model's outputs for each row of a data file",
  examples: [
    'loraify predict model.lora --data rows.jsonl -o out.jsonl',
    'loraify predict model.lora --data rows.npz --adapter model.run -o out.npz',
  ],
  options: { ...packageArgument, ...dataOptions, ...adapterOptions, ...outputFile, ...runtimeOptions },
  async run({ package: directory, ...options }, out) {
    const { predict } = await import('../../index.ts');
    const result = await predict(directory, { ...options, onNotice: out.note });
    if (result.leftOut.length > 0) out.warn(`left out, text or not one entry per row: ${result.leftOut.join(', ')}`);
    const { file, rows, outputs, provider } = result;
    out.result(`wrote ${file}: ${outputs.join(', ')} for ${plural(rows, 'row')}, on ${provider}`, result);
    return 0;
  },
});
