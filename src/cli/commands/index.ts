/**
 * All commands and the options that every command has, for the parser, `--help`, `completion` and
 * docs/reference/cli.md.
 */
import type { Command, CommandOption } from '../command.ts';
import { compileCommand } from './compile.ts';
import { completionCommand } from './completion.ts';
import { doctorCommand } from './doctor.ts';
import { evalCommand } from './eval.ts';
import { exportCommand } from './export.ts';
import { inspectCommand } from './inspect.ts';
import { mergeCommand } from './merge.ts';
import { predictCommand } from './predict.ts';
import { printCommand } from './print.ts';
import { trainCommand } from './train.ts';

/** `--help` and `--version` are those of yargs. */
export const globalOptions: readonly CommandOption[] = [
  { name: 'json', type: 'boolean', describe: 'print the result as JSON' },
  { name: 'quiet', type: 'boolean', describe: 'no progress on stderr' },
  { name: 'config', type: 'string', describe: 'options from a JSON or YAML file; flags win' },
];

export const commands: readonly Command[] = [
  compileCommand,
  inspectCommand,
  trainCommand,
  evalCommand,
  mergeCommand,
  predictCommand,
  exportCommand,
  doctorCommand,
  printCommand,
  completionCommand(() => ({ commands, globalOptions })),
];
