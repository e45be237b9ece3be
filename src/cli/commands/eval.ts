import { command } from '../command.ts';
import { metricsText, plural, short } from '../format.ts';
import { adapterOptions, dataOptions, packageArgument, runtimeOptions } from '../runtimeOptions.ts';

export const evalCommand = command({
  usage: 'eval <package>',
  describe: 'loss and metrics of an adapter on a data file',
  examples: [
    'loraify eval model.lora --data test.jsonl',
    'loraify eval model.lora --data test.jsonl --adapter model.run',
  ],
  options: { ...packageArgument, ...dataOptions, ...adapterOptions, ...runtimeOptions },
  async run({ package: directory, ...options }, out) {
    const { evaluate } = await import('../../index.ts');
    const { provider, ...found } = await evaluate(directory, { ...options, onNotice: out.note });
    for (const warning of found.warnings ?? []) out.warn(warning);
    const { loss, examples } = found;
    const parts = [`loss ${short(loss)}`, ...metricsText(found), `${plural(examples, 'example')} on ${provider}`];
    out.result(parts.join(', '), { ...found, provider });
    return 0;
  },
});
