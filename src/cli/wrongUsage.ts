/** Wrong usage in words: the nearest name of a command or an option, and the page of help that lists them. */

import { existsSync } from 'node:fs';
import { didYouMean } from '../errors.ts';
import type { Command, CommandOption } from './command.ts';
import { nameOf, usageOf } from './help.ts';
import { camel, kebab } from './options.ts';
import { helpPage, UsageError } from './output.ts';

/** @param message that of yargs. @param args the arguments of the program. */
export function wrongUsage(
  message: string,
  args: readonly string[],
  commands: readonly Command[],
  globalOptions: readonly CommandOption[],
): UsageError {
  const [first = ''] = args.filter((arg) => !arg.startsWith('-'));
  const own = commands.find((command) => nameOf(command) === first);
  const listed = /^Unknown (?:argument|command)s?: (.*)$/.exec(message)?.[1]?.split(', ') ?? [];
  // An option in kebab-case is listed in camelCase too.
  const unknown = listed.filter((name) => !listed.some((other) => other !== name && camel(other) === name));
  if (own === undefined && first !== '' && isCommandLike(first, unknown)) {
    const near = didYouMean(first, commands.map(nameOf), 1);
    if (near !== '' || unknown.length > 0)
      return new UsageError(`there is no command "${first}"${near || ', and no file of that name'}`, helpOf(undefined));
  }
  const command = own ?? commands[0];
  if (command === undefined || unknown.length === 0) return new UsageError(inOwnWords(message, own), helpOf(own));
  return new UsageError(unknown.map((name) => unknownText(name, args, command, globalOptions)).join('; '), helpOf(own));
}

/** The sentences of yargs that name neither the option nor what is missing. */
function inOwnWords(message: string, command: Command | undefined): string {
  const option = /^Not enough arguments following: (.*)$/.exec(message)?.[1];
  if (option !== undefined) return `${dashed(option)} needs a value`;
  if (!message.startsWith('Not enough non-option arguments') || command === undefined) return message;
  const missing = command.options.filter((o) => o.positional === true).map((o) => `${o.name} (${o.describe})`);
  return `${nameOf(command)} needs ${missing.join(' and ')}`;
}

/** Whether the first argument is meant as a command: it is not a file, and the arguments behind it are not expected. */
function isCommandLike(first: string, unknown: readonly string[]): boolean {
  return !existsSync(first) && !/[./\\]/.test(first) && unknown.every((name) => !name.startsWith('-'));
}

function unknownText(
  name: string,
  args: readonly string[],
  command: Command,
  globalOptions: readonly CommandOption[],
): string {
  const isOption = args.some((arg) => /^--?/.test(arg) && arg.replace(/^--?(?:no-)?/, '').split('=')[0] === name);
  if (!isOption) return `"${name}" is one argument too many; lists are separated by commas, not blanks`;
  const known = [...command.options, ...globalOptions]
    .filter((option) => option.positional !== true)
    .flatMap((option) => [kebab(option.name), ...(option.alias === undefined ? [] : [option.alias])]);
  const flag = dashed(kebab(name));
  return `${nameOf(command)} has no option ${flag}${didYouMean(flag, known.map(dashed))}`;
}

const dashed = (name: string): string => (name.length === 1 ? `-${name}` : `--${name}`);

const helpOf = (command: Command | undefined): string =>
  command === undefined ? 'see loraify --help' : helpPage(usageOf(command));
