/** The command line: arguments in, exit status out. */

import yargs from 'yargs';
import { version } from '../version.ts';
import { type Command, readConfig } from './command.ts';
import { compileCommand } from './compile.ts';
import { doctorCommand } from './doctor.ts';
import { evalCommand } from './eval.ts';
import { exportCommand } from './export.ts';
import { inspectCommand } from './inspect.ts';
import { watchInterrupts } from './interrupt.ts';
import { mergeCommand } from './merge.ts';
import { createOutput, report, UsageError } from './output.ts';
import { predictCommand } from './predict.ts';
import { printCommand } from './print.ts';
import { trainCommand } from './train.ts';

const commands: readonly Command[] = [
  compileCommand,
  inspectCommand,
  trainCommand,
  evalCommand,
  mergeCommand,
  predictCommand,
  exportCommand,
  doctorCommand,
  printCommand,
];

/** Runs one command. @returns 0 done, 1 an error with a code, 2 wrong usage, 130 interrupted. */
export async function main(args: readonly string[]): Promise<number> {
  let status = 0;
  watchInterrupts();
  // A reader such as head may close the pipe early.
  process.stdout.on('error', (error: Error) => process.exit('code' in error && error.code === 'EPIPE' ? 0 : 1));
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
    .option('json', { type: 'boolean', describe: 'print the result as JSON', global: true })
    .option('quiet', { type: 'boolean', describe: 'no progress on stderr', global: true })
    .option('config', {
      type: 'string',
      requiresArg: true,
      describe: 'options from a JSON or YAML file; flags win',
      global: true,
    })
    .version(version)
    .help()
    .strict()
    .demandCommand(1, 1)
    .exitProcess(false)
    .wrap(Math.min(120, process.stdout.columns ?? 100))
    .fail((message, error) => {
      // yargs has its own errors for wrong usage; others come from the command.
      throw error instanceof Error && error.name !== 'YError' ? error : new UsageError(message);
    });
  for (const { usage, describe, positionals, flags, execute } of commands) {
    parser.command(
      usage,
      describe,
      (y) => {
        for (const [name, settings] of Object.entries(positionals)) {
          y.positional(name, {
            type: 'string',
            ...(settings.describe === undefined ? {} : { describe: settings.describe }),
          });
        }
        return y.options(flags);
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
