/** The text of `--help`, from the option tables. */
import type { Options } from 'yargs';
import type { Command, CommandOption } from './command.ts';

/** The usage of a command; the first one where it has several. */
export const usageOf = ({ usage }: Command): string => (typeof usage === 'string' ? usage : (usage[0] ?? ''));

export const nameOf = (command: Command): string => usageOf(command).split(' ')[0] ?? '';

/** The description of an option, then a line for each of its values. */
export const describeOption = ({ describe, isRequired, positional, values = [] }: CommandOption): string =>
  [
    isRequired === true && positional !== true ? `${describe} (required)` : describe,
    ...values.map(({ name, help }) => `- ${name}: ${help}`),
  ].join('\n');

export const yargsOption = (option: CommandOption): Options => ({
  type: option.type,
  describe: describeOption(option),
  ...(option.alias === undefined ? {} : { alias: option.alias }),
  ...(option.default === undefined ? {} : { defaultDescription: option.default }),
  ...(option.group === undefined ? {} : { group: option.group }),
  // Values are checked by the schema; yargs would refuse comma lists.
  ...(option.type === 'boolean' ? {} : { requiresArg: true }),
});

/** `loraify --help`: the commands on one screen. */
export function overview(commands: readonly Command[], globalOptions: readonly CommandOption[]): string {
  const width = Math.max(...commands.map((c) => usageOf(c).length));
  return `Makes any ONNX model trainable with LoRA on stock ONNX Runtime.

Usage: loraify <model.onnx> [-r 8] [-a 16] [-o DIR]
       loraify <command> ...

Commands:
${commands.map((c) => `  ${usageOf(c).padEnd(width)}  ${c.describe}\n`).join('')}
Example:
  loraify model.onnx -r 8 -a 16
  loraify train model.lora --data train.jsonl --epochs 3
  loraify merge model.lora --adapter model.run/adapter -o tuned.onnx

loraify <command> --help shows the options of a command.
Everywhere: ${globalOptions.map((o) => `--${o.name}${o.type === 'string' ? ' FILE' : ''}`).join(', ')}, --help, --version.
`;
}
