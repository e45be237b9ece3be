// `npm run docs`: writes docs/reference/cli.md from the option tables of the command line.
import { realpathSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const head = `# Command line

Options that take lists are comma-separated or repeated; \`K=N\` splits at the last \`=\`. \`--config FILE\` reads options from a JSON or YAML
file, by their names; flags win. An option that does not apply to the loss or the optimizer chosen is
[\`BAD_OPTION\`](errors.md#bad_option). \`loraify COMMAND --help\` shows the same tables, and \`loraify completion\` completes them in a shell.

This page is generated from the option tables by \`npm run docs\`.
`;

/** The page, from { commands, globalOptions, usageOf, flagsOf } of src/cli. */
export function cliPage({ commands, globalOptions, usageOf, flagsOf }) {
  const sections = commands.map((command) => {
    const usages = [command.usage].flat().map((usage) => `loraify ${usage.replace('$0', '<model>')}`);
    const [positional, flags] = [true, false].map((is) =>
      command.options.filter((o) => (o.positional === true) === is),
    );
    return [
      `## ${usageOf(command).split(' ')[0]}`,
      '',
      `${sentence(command.describe)}`,
      '',
      '```',
      ...usages,
      '```',
      '',
      ...table('argument', positional, ({ name }) => [name]),
      ...table('option', flags, flagsOf),
    ].join('\n');
  });
  const everywhere = ['## Options of every command', '', ...table('option', globalOptions, flagsOf)].join('\n');
  return `${[head, ...sections, everywhere].join('\n').trimEnd()}\n`;
}

function table(head, options, names) {
  if (options.length === 0) return [];
  const rows = options.map((option) => {
    const flags = names(option).map((flag) => `\`${flag}\``);
    return `| ${flags.join(', ')} | ${cell(fallback(option))} | ${meaning(option)} |`;
  });
  return [`| ${head} | default | meaning |`, '|---|---|---|', ...rows, ''];
}

const fallback = ({ default: value, isRequired, type }) =>
  value ?? (isRequired === true ? 'required' : type === 'boolean' ? 'false' : '');

const meaning = ({ describe, values = [] }) =>
  [cell(describe), ...values.map(({ name, help }) => `\`${name}\`: ${cell(help)}`)].join('<br>');

const cell = (text) => text.replaceAll('|', '\\|').replaceAll('<', '&lt;');

const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;

const self = fileURLToPath(import.meta.url);
if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === self) {
  const { commands, globalOptions } = await import('../dist/cli/commands/index.js');
  const { usageOf } = await import('../dist/cli/help.js');
  const { flagsOf } = await import('../dist/cli/commands/completion.js');
  const page = cliPage({ commands, globalOptions, usageOf, flagsOf });
  writeFileSync(new URL('../docs/reference/cli.md', import.meta.url), page);
}
