/** Labels of a data file: names of classes as their numbers, and the forms in which files hold one label per row. */

import { badData, didYouMean, type LoraifyError } from '../../errors.ts';
import { isMissing, listed } from './cells.ts';
import type { FailAt } from './convert.ts';

/**
 * The labels that a loss accepts. The graphs would not refuse others: negative classes count from the end there,
 * without an error. `class`: 0 to `classes` (if that is known), or the ignore index. `share`: 0 to 1, for bce.
 */
export type LabelRule =
  | {
      readonly kind: 'class';
      readonly classes?: number | undefined;
      readonly ignoreIndex: number;
      /** The names of the classes, in their order. */
      readonly names?: readonly string[] | undefined;
    }
  | { readonly kind: 'share' };

/** Converts the labels of one file to class numbers. */
export interface ClassReader {
  /** Whether the classes have names; then numbers are looked up too. */
  readonly hasNames: boolean;
  /** Whether a text is the name of a class. */
  has(text: string): boolean;
  /**
   * The class number of a label, which is a name or a number. Without names of classes, a text gives 0 for now, and
   * `finish` throws: an error that lists all the names in the file is the one that helps.
   */
  read(value: unknown, fail: (reason: string) => Error): unknown;
  /** Errors: BAD_DATA if the file has names and the package has none. */
  finish(file: string): void;
}

/** More different texts than this are not the names of classes. */
const mostNames = 1000;

export function classReader({ names, ignoreIndex }: Extract<LabelRule, { kind: 'class' }>): ClassReader {
  const numbers = new Map(names?.map((name, i) => [name, i]));
  // Names that are numbers, as in `--labels 1,2,3`: a number in the file is a name, not an index.
  const areNumeric = names?.some((name) => name.trim() !== '' && !Number.isNaN(Number(name))) === true;
  const found = new Set<string>();
  let first: Error | undefined;
  const unknown = (value: unknown): string => {
    const text = typeof value === 'string' ? `"${value}"` : String(value);
    const near = didYouMean(String(value), numbers.keys());
    return `${text} is not the name of a class${near} (the classes are ${listed([...numbers.keys()])})`;
  };
  return {
    hasNames: names !== undefined,
    has: (text) => numbers.has(text),
    read(value, fail) {
      if (typeof value === 'string') {
        const known = numbers.get(value);
        if (known !== undefined) return known;
        if (isMissing(value)) throw fail(`"${value}" is a missing value; each row needs a label`);
        if (names !== undefined) throw fail(unknown(value));
        if (found.size < mostNames) found.add(value);
        first ??= fail(`"${value}" is not a class number`);
        return 0;
      }
      if (names === undefined) return value;
      if (typeof value === 'boolean') {
        const known = ['true', 'True', 'TRUE'].map((text) => (value ? text : text.replace(/true/i, falseAs)));
        const text = known.find((name) => numbers.has(name));
        if (text === undefined) throw fail(unknown(value));
        return numbers.get(text);
      }
      if ((typeof value !== 'number' && typeof value !== 'bigint') || Number(value) === ignoreIndex) return value;
      const known = numbers.get(String(value));
      if (known === undefined && areNumeric) throw fail(unknown(value));
      return known ?? value;
    },
    finish(file) {
      if (first !== undefined) throw withoutNames(first, [...found].sort(), file);
    },
  };
}

/** `false` in the letter case of a `true`. */
const falseAs = (text: string): string => (text === 'TRUE' ? 'FALSE' : text === 'True' ? 'False' : 'false');

function withoutNames(first: Error, names: readonly string[], file: string): LoraifyError {
  const count = names.length === mostNames ? `more than ${mostNames}` : String(names.length);
  const fits = names.length <= 50 && names.every((name) => !/[,"'\\$`]/.test(name) && name.trim() === name);
  const value = names.join(',');
  const option = fits ? `--labels ${/\s|[;&|<>()*?!#~]/.test(value) ? `"${value}"` : value}` : '--labels NAMES.txt';
  const rest = fits ? 'in the order of the classes' : 'a file with one name a line, in the order of the classes';
  return badData(
    `${first.message}; the file has the names ${listed(names)} (${count})`,
    file,
    `compile again with ${option} (${rest}; --force replaces the package), or write the labels as class numbers`,
  );
}

/**
 * The shape of labels in the form of their field, if the two differ only in axes of size 1: [N] and [N, 1] are the same
 * numbers. Undefined if they do not fit.
 */
export function labelShape(
  field: readonly (number | string | null)[],
  given: readonly number[],
): readonly number[] | undefined {
  const [dim, ...dims] = field;
  const [size, ...sizes] = given;
  if (dim === undefined && size === undefined) return [];
  if (dim !== undefined && size !== undefined && (typeof dim !== 'number' || dim === size)) {
    const rest = labelShape(dims, sizes);
    if (rest !== undefined) return [size, ...rest];
  }
  if (size === 1) {
    const rest = labelShape(field, sizes);
    if (rest !== undefined) return rest;
  }
  if (dim !== 1) return undefined;
  const rest = labelShape(dims, given);
  return rest && [1, ...rest];
}

/** The reason for labels with an axis that class numbers do not have; an empty string if there is none. */
export function oneHotReason(rule: LabelRule | undefined, rank: number, shape: readonly number[]): string {
  const width = shape.at(-1) ?? 1;
  if (rule?.kind !== 'class' || shape.length !== rank + 1 || width < 2) return '';
  if (rule.classes !== undefined && rule.classes !== width) return '';
  return `; one-hot labels become class numbers with argmax over the last axis: labels.argmax(-1)`;
}

/** Makes the error of an element from the error of its row. */
export const at =
  (fail: FailAt, index: number): ((reason: string) => Error) =>
  (reason) =>
    fail(reason, index);
