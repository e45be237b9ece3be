/** `--labels`: the names of the classes, or their number; without it, the names in the model's config.json. */

import { readFileSync, statSync } from 'node:fs';
import { extname } from 'node:path';
import { badOption, fileNotFound } from '../errors.ts';
import { reasonOf } from '../formats/files.ts';
import { heads } from '../graph/choices/heads.ts';
import { takersOf } from '../graph/choices/losses.ts';
import type { HeadPlan, Prepared } from '../passes/index.ts';
import { configsBeside, fieldOf, mostBytes } from './modelConfig.ts';

/** The classes in their order. */
export interface ClassLabels {
  readonly count: number;
  /** Absent if only their number is given. */
  readonly names?: readonly string[] | undefined;
}

export interface LabelSources {
  /** The value of --labels. */
  readonly given?: ClassLabels | undefined;
  /** The names in the config.json of the model. */
  readonly config?: ClassLabels | undefined;
}

/**
 * The names for a model file: of the option, and of the config.json beside the model or in the folder above it. Errors:
 * BAD_OPTION, FILE_NOT_FOUND.
 */
export function labelSources(option: number | string | readonly string[] | undefined, model: string): LabelSources {
  return option === undefined ? { config: configLabels(model) } : { given: given(option) };
}

/**
 * The classes for a loss, or for a head. Errors: BAD_OPTION if their number is not that of the model's classes.
 */
export function classLabels(
  prepared: Prepared | undefined,
  { given, config }: LabelSources,
  head?: HeadPlan,
): ClassLabels | undefined {
  if (head !== undefined) {
    const size = heads[head.kind].outputs === 'classes' ? head.linear?.size : undefined;
    return [given, config].find((labels) => labels !== undefined && labels.count === size);
  }
  if (prepared === undefined || !takersOf('labels').includes(prepared.choice.kind)) return undefined;
  const { classes, tensor } = prepared.choice;
  if (given === undefined) return config?.count === classes ? config : undefined;
  if (classes !== undefined && given.count !== classes)
    throw badOption(
      `--labels gives ${given.count} ${given.count === 1 ? 'class' : 'classes'}, but "${tensor}" has ${classes}`,
      `give ${classes} names in the order of the classes, or leave --labels out`,
    );
  return given;
}

function given(option: number | string | readonly string[]): ClassLabels {
  const pieces = typeof option === 'string' ? option.split(',').map((piece) => piece.trim()) : [option].flat();
  const [first = '', ...rest] = pieces;
  if (rest.length > 0) return named(pieces.map(String), '--labels');
  if (typeof first === 'string' && /\.(?:txt|json)$/i.test(first)) return fromFile(first);
  const count = Number(first);
  if (String(first).trim() !== '' && Number.isSafeInteger(count) && count > 0) return { count };
  return named([String(first)], '--labels');
}

/** Errors: BAD_OPTION for a name that is empty or occurs twice. */
function named(names: readonly string[], where: string): ClassLabels {
  const empty = names.indexOf('');
  if (names.length === 0 || empty >= 0)
    throw badOption(`${where}: ${names.length === 0 ? 'there are no names' : `name ${empty + 1} is empty`}`);
  const again = names.find((name, i) => names.indexOf(name) !== i);
  if (again !== undefined) throw badOption(`${where}: "${again}" occurs twice`);
  return { count: names.length, names };
}

function fromFile(file: string): ClassLabels {
  let text: string;
  try {
    if (statSync(file).size > mostBytes) throw badOption(`--labels: "${file}" is too large for names of classes`);
    text = readFileSync(file, 'utf8').replace(/^\ufeff/, '');
  } catch (error) {
    if (error instanceof Error && 'syscall' in error) throw fileNotFound(file, reasonOf(error));
    throw error;
  }
  const where = `--labels: "${file}"`;
  if (text.includes('\ufffd')) throw badOption(`${where} is not UTF-8`);
  if (extname(file).toLowerCase() === '.txt')
    return named(
      text
        .trimEnd()
        .split(/\r?\n/)
        .map((l) => l.trim()),
      where,
    );
  const names = jsonNames(text);
  if (names === undefined)
    throw badOption(
      `${where} must hold a list of names, or id2label`,
      'write ["a", "b"] or {"0": "a", "1": "b"}, in the order of the classes',
    );
  return named(names, where);
}

/** The names in a JSON list, an id2label, or a config with one; undefined for anything else. */
function jsonNames(text: string): string[] | undefined {
  try {
    return namesIn(JSON.parse(text));
  } catch {
    return undefined;
  }
}

function namesIn(json: unknown): string[] | undefined {
  const found = fieldOf(json, 'id2label') ?? json;
  const names: unknown[] = Array.isArray(found) ? found : inOrder(found);
  return names.length > 0 && names.every((name) => typeof name === 'string') ? names : undefined;
}

/** The values of the keys 0 .. n - 1; an undefined one for each that is missing. */
function inOrder(value: unknown): unknown[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.keys(value).map((_, i) => fieldOf(value, String(i)));
}

/**
 * The names of a config.json, unless they are the ones that transformers makes up. Nothing for a file without names.
 */
function configLabels(model: string): ClassLabels | undefined {
  const [config] = configsBeside(model, ['config.json']);
  const names = fieldOf(config, 'id2label') === undefined ? undefined : namesIn(config);
  // A number in the data is an index; names such as "1" for class 0 would make it unclear.
  const isUnclear = (name: string, i: number): boolean => !Number.isNaN(Number(name)) && name !== String(i);
  const isMadeUp = names?.some((name, i) => /^LABEL_\d+$/.test(name) || isUnclear(name, i)) ?? true;
  if (names === undefined || isMadeUp || new Set(names).size < names.length || names.includes('')) return undefined;
  return { count: names.length, names };
}
