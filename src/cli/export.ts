import { command } from './command.ts';
import { choice } from './options.ts';
import { adapterOption, outputFile, packageArgument } from './runtimeOptions.ts';

export const exportCommand = command({
  usage: 'export <package>',
  describe: 'an adapter in the form of another tool',
  options: {
    ...packageArgument,
    ...adapterOption,
    ...outputFile,
    format: choice(['peft'], { describe: 'peft: a directory for PeftModel.from_pretrained', default: 'peft' }),
  },
  async run({ package: directory, format = 'peft', ...options }, out) {
    const { exportAdapter } = await import('../index.ts');
    const result = await exportAdapter(directory, { ...options, format });
    for (const text of result.warnings) out.warn(text);
    out.result(`wrote ${result.dir}`, { ...result, format });
    return 0;
  },
});
