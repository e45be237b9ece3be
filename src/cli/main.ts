/** The command line: arguments in, exit status out. */

import yargs from 'yargs';
import { version } from '../version.ts';
import { readConfig } from './command.ts';
import { commands, globalOptions } from './commands/index.ts';
import { describeOption, overview, yargsOption } from './help.ts';
import { watchInterrupts } from './interrupt.ts';
import { kebab } from './options.ts';
import { createOutput, report } from './output.ts';
import { wrongUsage } from './wrongUsage.ts';

/** Runs one command. @returns 0 done, 1 an error with a code, 2 wrong usage, 130 interrupted. */
export async function main(args: readonly string[]): Promise<number> {
  let status = 0;
  watchInterrupts();
  // A reader such as head may close the pipe early.
  process.stdout.on('error', (error: Error) => process.exit('code' in error && error.code === 'EPIPE' ? 0 : 1));
  if (args.length === 1 && (args[0] === '--help' || args[0] === 'help')) {
    process.stdout.write(overview(commands, globalOptions));
    return 0;
  }
  const parser = yargs([...args])
    .scriptName('loraify')
    .locale('en')
    .usage('$0 <model.onnx> [-r 8] [-a 16] [-o DIR]\n$0 <command> ...')
    // Module paths are full of dots; options may come from a config file too, so nothing is filled in here.
    .parserConfiguration({
      'dot-notation': false,
      'strip-aliased': true,
      'parse-numbers': false,
      'parse-positional-numbers': false,
    })
    .options(Object.fromEntries(globalOptions.map((o) => [o.name, { ...yargsOption(o), global: true }])))
    .version(version)
    .help()
    .strict()
    .demandCommand(1, 1)
    .exitProcess(false)
    .wrap(Math.min(120, process.stdout.columns ?? 100))
    .fail((message, error) => {
      // yargs has its own errors for wrong usage; others come from the command.
      throw error instanceof Error && error.name !== 'YError'
        ? error
        : wrongUsage(message, args, commands, globalOptions);
    });
  for (const { usage, describe, examples, options, execute } of commands) {
    parser.command(
      usage,
      describe,
      (y) => {
        for (const option of options.filter((o) => o.positional === true))
          y.positional(kebab(option.name), { type: 'string', describe: describeOption(option) });
        for (const example of examples) y.example(example, '');
        const flags = options.filter((o) => o.positional !== true);
        return y.options(Object.fromEntries(flags.map((o) => [kebab(o.name), yargsOption(o)])));
      },
      async (given) => {
        const said = async (name: string): Promise<boolean> => given[name] === true || configSays(given.config, name);
        status = (await execute(given, createOutput(await said('json'), await said('quiet')))) ?? 0;
      },
    );
  }
  try {
    await parser.parseAsync();
    return status;
  } catch (error) {
    return report(error);
  }
}

async function configSays(file: unknown, name: string): Promise<boolean> {
  if (typeof file !== 'string') return false;
  return Object.entries(await readConfig(file)).some(([key, value]) => key === name && value === true);
}
