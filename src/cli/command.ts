/** The definition of a command, and the reading of its options into typed values. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { didYouMean, fileNotFound } from '../errors.ts';
import { camel, kebab, type OptionMeta, optionMeta } from './options.ts';
import { helpPage, type Output, UsageError } from './output.ts';

// A command checks a handful of things once: functions made for that would cost more than they gain.
z.config({ jitless: true });

export interface CommandDefinition<S extends z.ZodRawShape> {
  /** As yargs has it: `train <package>`; several where the first name may be left out. */
  readonly usage: string | readonly string[];
  readonly describe: string;
  /** Two command lines of the command, for its help. */
  readonly examples: readonly string[];
  readonly options: S;
  /** Returns the exit status where it is not 0. */
  run(options: z.output<z.ZodObject<S>>, out: Output): Promise<number | undefined>;
}

/** An option of a command: its name in camelCase, and what help, completion and docs/reference/cli.md show of it. */
export interface CommandOption extends OptionMeta {
  readonly name: string;
}

export interface Command {
  readonly usage: string | readonly string[];
  readonly describe: string;
  readonly examples: readonly string[];
  readonly options: readonly CommandOption[];
  /** @param given parsed flags by camelCase name, without defaults. */
  execute(given: Readonly<Record<string, unknown>>, out: Output): Promise<number | undefined>;
}

export function command<S extends z.ZodRawShape>(definition: CommandDefinition<S>): Command {
  const { usage, describe, examples, options, run } = definition;
  const metas = Object.entries(options).map(([name, schema]) => {
    const meta = schema instanceof z.ZodType ? optionMeta.get(schema) : undefined;
    if (meta === undefined) throw new Error(`option ${name} has no help`);
    return [name, meta] as const;
  });
  const keys = new Map([
    ...metas.map(([name]) => [name, name] as const),
    ...metas.flatMap(([name, { alias }]) => (alias === undefined ? [] : [[alias, name] as const])),
  ]);
  const first = typeof usage === 'string' ? usage : (usage[0] ?? '');
  return {
    usage,
    describe,
    examples,
    options: metas.map(([name, meta]) => ({ name, ...meta })),
    async execute(given, out) {
      const config = typeof given.config === 'string' ? await configValues(given.config, keys) : {};
      const values = Object.fromEntries(metas.map(([name]) => [name, given[name] ?? config[name]]));
      const parsed = z.object(options).safeParse(values);
      if (!parsed.success) {
        const [issue] = parsed.error.issues;
        throw new UsageError(`--${kebab(String(issue?.path[0] ?? ''))} ${issue?.message}`, helpPage(first));
      }
      return run(parsed.data, out);
    },
  };
}

/** Keys that choose how results are printed; main reads them. */
const global = ['json', 'quiet'];

/**
 * Options of a JSON or YAML file, by their names (kebab-case or camelCase) or short names. Unknown ones are refused.
 */
async function configValues(file: string, keys: ReadonlyMap<string, string>): Promise<Record<string, unknown>> {
  const values = await readConfig(file);
  const result: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(values)) {
    const name = camel(key);
    if (global.includes(name)) continue;
    const known = keys.get(name);
    const negated = name.startsWith('no') ? keys.get(`${name.charAt(2).toLowerCase()}${name.slice(3)}`) : undefined;
    if (known !== undefined) result[known] = value ?? undefined;
    else if (negated !== undefined && typeof value === 'boolean') result[negated] = !value;
    else
      throw new UsageError(
        `${file}: there is no option "${key}"${didYouMean(kebab(name), [...keys.keys()].map(kebab))}`,
      );
  }
  return result;
}

/** The object in a config file. JSON is YAML. */
export async function readConfig(file: string): Promise<object> {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw fileNotFound(file, error instanceof Error ? (error.message.split(', ')[0] ?? '') : String(error));
  }
  const { parse } = await import('yaml');
  let values: unknown;
  try {
    values = parse(text);
  } catch (error) {
    throw new UsageError(`${file}: ${error instanceof Error ? error.message.split('\n')[0] : error}`);
  }
  if (values === null || values === undefined) return {};
  if (typeof values !== 'object' || Array.isArray(values))
    throw new UsageError(`${file} must hold an object of options`);
  return values;
}
