/** `loraify completion`: a script that completes commands, options and their values without starting loraify. */
import { shells } from '../../graph/choices/package.ts';
import { type Command, type CommandOption, command } from '../command.ts';
import { nameOf } from '../help.ts';
import { choice, kebab } from '../options.ts';

interface Tables {
  readonly commands: readonly Command[];
  readonly globalOptions: readonly CommandOption[];
}

/** @param tables read when the command runs: it is one of them itself. */
export const completionCommand = (tables: () => Tables): Command =>
  command({
    usage: 'completion [shell]',
    describe: 'print a completion script for bash or zsh',
    examples: ['loraify completion bash > loraify.bash', 'loraify completion zsh > _loraify'],
    options: { shell: choice(shells, { positional: true, describe: 'shell to complete in', default: 'bash' }) },
    async run({ shell = 'bash' }, out) {
      const script = `${shell === 'zsh' ? zshHead : ''}${completionScript(tables())}`;
      out.result(script, { shell, script });
      return 0;
    },
  });

/** zsh runs functions of bash by its bashcompinit. */
const zshHead = `autoload -Uz compinit bashcompinit
(( $+functions[compdef] )) || compinit
bashcompinit
`;

/** The flags of an option, as they are typed. */
export const flagsOf = ({ name, alias, type, default: value }: CommandOption): string[] => [
  `--${kebab(name)}`,
  ...(alias === undefined ? [] : [`${alias.length === 1 ? '-' : '--'}${alias}`]),
  ...(type === 'boolean' && value === 'true' ? [`--no-${kebab(name)}`] : []),
];

/** Words of a table, none of which has a space or a sign that a shell reads. */
function words(list: readonly string[]): string {
  for (const word of list) if (!/^[\w.-]+$/.test(word)) throw new Error(`"${word}" cannot be completed`);
  return list.join(' ');
}

const valuesOf = ({ values = [] }: CommandOption): string =>
  words(values.flatMap(({ name, isForm }) => (isForm === true ? [] : [name])));

/** A function for bash. Where it has nothing to offer, files are completed. */
export function completionScript({ commands, globalOptions }: Tables): string {
  const names = commands.map(nameOf);
  const cases = commands.flatMap((c) =>
    c.options.flatMap((o) => {
      const values = valuesOf(o);
      if (values === '') return [];
      const patterns = o.positional === true ? [nameOf(c)] : flagsOf(o);
      return [`    ${patterns.map((p) => `"${nameOf(c)} ${p}"`).join(' | ')}) words="${values}" ;;`];
    }),
  );
  const flags = commands.map((c) => {
    const own = c.options.filter((o) => o.positional !== true);
    return `      ${nameOf(c)}) words="${words([...own, ...globalOptions].flatMap(flagsOf).concat('--help'))}" ;;`;
  });
  return `# Completion for loraify.
_loraify() {
  local cur prev command words prefix i
  cur="\${COMP_WORDS[COMP_CWORD]}"
  prev="\${COMP_WORDS[COMP_CWORD - 1]}"
  # --option=value is three words.
  if [ "$cur" = "=" ]; then cur=""; elif [ "$prev" = "=" ]; then prev="\${COMP_WORDS[COMP_CWORD - 2]}"; fi
  # A model in place of a command is compiled.
  command=compile
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "\${COMP_WORDS[i]}" in
      ${names.join(' | ')}) command="\${COMP_WORDS[i]}"; break ;;
    esac
  done
  # No value starts with a dash.
  case "$cur" in -*) prev="" ;; esac
  COMPREPLY=()
  words=""
  case "$command $prev" in
${cases.join('\n')}
  esac
  if [ -z "$words" ]; then
    case "$cur" in
      -*) case "$command" in
${flags.join('\n')}
      esac ;;
      *) if [ "$COMP_CWORD" -eq 1 ]; then words="${words(names)}"; fi ;;
    esac
  fi
  if [ -z "$words" ]; then return; fi
  # The last item of a list.
  prefix=""
  case "$cur" in *,*) prefix="\${cur%,*}," ;; esac
  COMPREPLY=($(compgen -P "$prefix" -W "$words" -- "\${cur#"$prefix"}"))
}
complete -o bashdefault -o default -F _loraify loraify
`;
}
