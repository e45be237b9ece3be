import { command } from './command.ts';
import { adapterOptions, dataOptions, packageArgument, runtimeOptions } from './runtimeOptions.ts';
import { plural, short } from './text.ts';

export const evalCommand = command({
  usage: 'eval <package>',
  describe: 'loss and metrics of an adapter on a data file',
  options: { ...packageArgument, ...dataOptions, ...adapterOptions, ...runtimeOptions },
  async run({ package: directory, ...options }, out) {
    const { evaluate } = await import('../index.ts');
    const { provider, ...found } = await evaluate(directory, options);
    const { loss, examples, accuracy, perplexity } = found;
    const parts = [
      `loss ${short(loss)}`,
      ...(accuracy === undefined ? [] : [`accuracy ${(100 * accuracy).toFixed(2)} %`]),
      ...(perplexity === undefined ? [] : [`perplexity ${short(perplexity)}`]),
      `${plural(examples, 'example')} on ${provider}`,
    ];
    out.result(parts.join(', '), { ...found, provider });
    return 0;
  },
});
