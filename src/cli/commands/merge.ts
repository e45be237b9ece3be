import { command } from '../command.ts';
import { plural } from '../format.ts';
import { flag } from '../options.ts';
import { adapterOptions, outputFile, packageArgument, sourceOption } from '../runtimeOptions.ts';

export const mergeCommand = command({
  usage: 'merge <package>',
  describe: 'fold an adapter into the weights of the source model',
  examples: ['loraify merge model.lora -o tuned.onnx', 'loraify merge model.lora --adapter a=0.7,b=0.3 -o mixed.onnx'],
  options: {
    ...packageArgument,
    ...adapterOptions,
    ...outputFile,
    ...sourceOption,
    verify: flag({ describe: '--no-verify: do not compare the result with base + adapter', default: 'true' }),
  },
  async run({ package: directory, ...options }, out) {
    const { merge } = await import('../../index.ts');
    const result = await merge(directory, options);
    for (const text of result.warnings) out.warn(text);
    const { file, dataFile, layers, error } = result;
    const checked = error === undefined ? 'not verified' : `equal to base + adapter within ${error.toExponential(1)}`;
    const where = dataFile === undefined ? file : `${file} and ${dataFile}`;
    out.result(`wrote ${where}: ${plural(layers, 'layer')} merged, ${checked}`, result);
    return 0;
  },
});
