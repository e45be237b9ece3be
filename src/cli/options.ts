/**
 * Options of commands as zod schemas: one definition gives the flag, its help, the key in a --config file and the typed
 * value. Values come as strings (flags) or as what JSON and YAML have (config files).
 */

import { existsSync } from 'node:fs';
import { z } from 'zod';
import { type Choice, isKey, keysOf } from '../graph/choices/choice.ts';

export interface OptionHelp {
  readonly describe: string;
  /** One letter, or another name. */
  readonly alias?: string;
  /** Shown in the help; the library fills defaults in. */
  readonly default?: string;
  /** An argument without a flag. */
  readonly positional?: boolean;
  readonly group?: string;
}

export interface OptionMeta extends OptionHelp {
  readonly type: 'string' | 'number' | 'boolean';
  /** The values it takes, with what they mean. */
  readonly values?: readonly OptionValue[];
  /** Several values, comma-separated or repeated. */
  readonly isList?: boolean;
  readonly isRequired?: boolean;
}

export interface OptionValue {
  readonly name: string;
  readonly help: string;
  /** The name is a form of values, such as `pissa_niter_N`. */
  readonly isForm?: boolean;
}

type ChoiceTable<T extends string> = Readonly<Record<T, Choice>>;

const valuesOf = <T extends string>(table: ChoiceTable<T>): (OptionValue & { readonly name: T })[] =>
  keysOf(table).map((name) => ({ name, help: table[name].help }));

export const optionMeta = z.registry<OptionMeta>();

/** A flag given twice: the last one counts. */
const last = (given: unknown): unknown => (Array.isArray(given) ? given.at(-1) : given);

function option<T>(help: OptionHelp & Partial<OptionMeta>, read: (given: unknown) => T | Refusal) {
  const schema = z
    .unknown()
    .optional()
    .transform((given, context): T | undefined => {
      if (given === undefined) return undefined;
      const value = read(given);
      if (!(value instanceof Refusal)) return value;
      context.addIssue({ code: 'custom', message: value.reason });
      return z.NEVER;
    });
  optionMeta.add(schema, { type: 'string', ...help });
  return schema;
}

class Refusal {
  readonly reason: string;
  constructor(reason: string) {
    this.reason = reason;
  }
}

const show = (value: unknown): string => JSON.stringify(value) ?? String(value);

export const text = (help: OptionHelp) =>
  option(help, (given): string | Refusal => {
    const value = last(given);
    return typeof value === 'string' && value !== '' ? value : new Refusal(`needs a value, not ${show(value)}`);
  });

/** Text that must be given, as a flag or in the config file. */
export function required(help: OptionHelp) {
  const schema = z.unknown().transform((given, context): string => {
    const value = last(given);
    if (typeof value === 'string' && value !== '') return value;
    context.addIssue({
      code: 'custom',
      message: value === undefined ? 'is missing' : `needs a value, not ${show(value)}`,
    });
    return z.NEVER;
  });
  optionMeta.add(schema, { type: 'string', isRequired: true, ...help });
  return schema;
}

const toNumber = (value: unknown): number | Refusal => {
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  return typeof number === 'number' && !Number.isNaN(number)
    ? number
    : new Refusal(Number.isNaN(value) ? 'needs a number' : `needs a number, not ${show(value)}`);
};

const toInteger = (value: unknown): number | Refusal => {
  const number = toNumber(value);
  if (number instanceof Refusal || Number.isSafeInteger(number)) return number;
  return new Refusal(`needs an integer, not ${show(value)}`);
};

export const number = (help: OptionHelp) => option({ ...help, type: 'number' }, (given) => toNumber(last(given)));
export const integer = (help: OptionHelp) => option({ ...help, type: 'number' }, (given) => toInteger(last(given)));

export const flag = (help: OptionHelp) =>
  option({ ...help, type: 'boolean' }, (given): boolean | Refusal => {
    const value = last(given);
    return typeof value === 'boolean' ? value : new Refusal(`is true or false, not ${show(value)}`);
  });

export const choice = <const T extends string>(table: ChoiceTable<T>, help: OptionHelp) =>
  option({ ...help, values: valuesOf(table) }, (given): T | Refusal => {
    const value = last(given);
    return typeof value === 'string' && isKey(table, value)
      ? value
      : new Refusal(`is one of ${keysOf(table).join(', ')}, not ${show(value)}`);
  });

/** A form of values beside those of a table. */
interface Form<P extends string> {
  readonly is: (value: string) => value is P;
  readonly form: string;
  readonly help: string;
}

/** One of the choices, or a text of another form. */
export const choiceOr = <const T extends string, P extends string>(
  table: ChoiceTable<T>,
  { is, form, help: meaning }: Form<P>,
  help: OptionHelp,
) =>
  option(
    { ...help, values: [...valuesOf(table), { name: form, help: meaning, isForm: true }] },
    (given): T | P | Refusal => {
      const value = last(given);
      if (typeof value === 'string' && (is(value) || isKey(table, value))) return value;
      return new Refusal(`is one of ${[...keysOf(table), form].join(', ')}, not ${show(value)}`);
    },
  );

/** Comma-separated or repeated. */
export const list = (help: OptionHelp) => option({ ...help, isList: true }, (given) => pieces(given));

/** A list of names, usually of the table; the library checks them. */
export const listFrom = (table: ChoiceTable<string>, help: OptionHelp) =>
  option({ ...help, values: valuesOf(table), isList: true }, (given) => pieces(given));

export const choices = <const T extends string>(table: ChoiceTable<T>, help: OptionHelp) =>
  option({ ...help, values: valuesOf(table), isList: true }, (given): T[] | Refusal =>
    each(pieces(given), (item) =>
      typeof item === 'string' && isKey(table, item)
        ? item
        : new Refusal(`is a list of ${keysOf(table).join(', ')}, not ${show(item)}`),
    ),
  );

export const numbers = (help: OptionHelp) => option(help, (given) => each(pieces(given), toNumber));
export const integers = (help: OptionHelp) => option(help, (given) => each(pieces(given), toInteger));

/** Two numbers: `0.9,0.999`. */
export const pair = (help: OptionHelp) =>
  option(help, (given): [number, number] | Refusal => {
    const values = each(pieces(given), toNumber);
    if (values instanceof Refusal) return values;
    const [a, b] = values;
    return values.length === 2 && a !== undefined && b !== undefined ? [a, b] : new Refusal('needs two numbers, a,b');
  });

/**
 * A name, or `NAME=STRENGTH,…` split at the last `=` (1 if there is none); in a config file also an object. A name that
 * exists on the disk is taken as it is, whatever signs are in it.
 */
export const adapters = (help: OptionHelp) =>
  option(help, (given): string | Record<string, number> | Refusal => {
    const isObject = typeof given === 'object' && given !== null && !Array.isArray(given);
    const entries = isObject
      ? Object.entries(given)
      : [given].flat().flatMap((item) => weightedName(String(item), true) ?? splitList(String(item)).map(named));
    const result = new Map<string, number>();
    for (const [name, value] of entries) {
      const strength = toNumber(value);
      if (strength instanceof Refusal) return strength;
      if (result.has(name)) return new Refusal(`names ${show(name)} twice`);
      result.set(name, strength);
    }
    if (result.size === 0) return new Refusal('needs a name');
    // One name without a strength is that adapter itself, not a combination of one.
    return typeof given === 'string' && result.has(given) ? given : Object.fromEntries(result);
  });

const named = (piece: string): [string, number] => weightedName(piece, false)?.[0] ?? [piece, 1];

/**
 * One name, with or without strength, in a list of its own; undefined where it is not one (or, if asked, does not
 * exist).
 */
function weightedName(text: string, existing: boolean): [string, number][] | undefined {
  if (existsSync(text)) return [[text, 1]];
  const at = text.lastIndexOf('=');
  const [name, strength] = [text.slice(0, at), Number(text.slice(at + 1).trim() || Number.NaN)];
  return at < 1 || Number.isNaN(strength) || (existing && !existsSync(name)) ? undefined : [[name, strength]];
}

/** `K=V,…` as pairs, split at the last `=`; in a config file also an object. A piece without `=` has no value. */
const pairs = (given: unknown): [string, unknown][] =>
  typeof given === 'object' && given !== null && !Array.isArray(given)
    ? Object.entries(given)
    : joined([given].flat()).map((item): [string, unknown] => {
        const at = item.lastIndexOf('=');
        return at < 1 ? [item, undefined] : [item.slice(0, at), item.slice(at + 1)];
      });

/** `NAME=TEXT,…`. */
export const textTable = (help: OptionHelp) =>
  option(help, (given): Record<string, string> | Refusal => {
    const result = new Map<string, string>();
    for (const [key, value] of pairs(given)) {
      if (typeof value !== 'string' || value === '') return new Refusal(`needs NAME=VALUE, not ${show(key)}`);
      result.set(key, value);
    }
    return Object.fromEntries(result);
  });

/** `K=N,…`. */
export const table = (help: OptionHelp) =>
  option(help, (given): Record<string, number> | Refusal => {
    const result = new Map<string, number>();
    for (const [key, value] of pairs(given)) {
      const n = value === undefined ? new Refusal(`needs NAME=NUMBER, not ${show(key)}`) : toNumber(value);
      if (n instanceof Refusal) return n;
      result.set(key, n);
    }
    return Object.fromEntries(result);
  });

function each<T>(items: readonly unknown[], read: (item: unknown) => T | Refusal): T[] | Refusal {
  const values: T[] = [];
  for (const item of items) {
    const value = read(item);
    if (value instanceof Refusal) return value;
    values.push(value);
  }
  return values;
}

/** The items of a list; commas inside `/…/` belong to the expression. */
function pieces(given: unknown): string[] {
  return [given].flat().flatMap((item) => (typeof item === 'string' ? splitList(item) : [String(item)]));
}

function splitList(text: string): string[] {
  const items: string[] = [];
  for (let start = 0; start <= text.length; ) {
    const isExpression = text[start] === '/';
    const close = isExpression ? text.slice(start + 1).search(/\/(?:,|$)/) : -1;
    const end = close >= 0 ? start + close + 2 : text.indexOf(',', start);
    const stop = end < 0 ? text.length : end;
    items.push(text.slice(start, stop).trim());
    start = stop + 1;
  }
  return items.filter((item) => item !== '');
}

/** Items of K=N lists: a piece without `=` is the first half of a name with a comma in it. */
function joined(given: readonly unknown[]): string[] {
  return given.flatMap((text) => {
    const items: string[] = [];
    let pending = '';
    for (const piece of String(text).split(',')) {
      pending = pending === '' ? piece : `${pending},${piece}`;
      if (!piece.includes('=')) continue;
      items.push(pending);
      pending = '';
    }
    return pending === '' ? items : [...items, pending];
  });
}

/** `evalEvery` -> `eval-every`. */
export const kebab = (name: string): string => name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);
export const camel = (name: string): string => name.replace(/-(.)/g, (_, c: string) => c.toUpperCase());
