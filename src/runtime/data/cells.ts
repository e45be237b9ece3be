/** Texts of data files: the ones that are missing values, and names as a list. */

/** The texts that pandas reads as NaN, in lower case; it writes NaN as an empty cell. */
const missing: ReadonlySet<string> = new Set([
  '',
  '#n/a',
  '#n/a n/a',
  '#na',
  '-1.#ind',
  '-1.#qnan',
  '-nan',
  '1.#ind',
  '1.#qnan',
  '<na>',
  'n/a',
  'na',
  'nan',
  'none',
  'null',
]);

export const isMissing = (text: string): boolean => missing.has(text.trim().toLowerCase());

const infinities: Readonly<Record<string, number>> = {
  inf: Number.POSITIVE_INFINITY,
  infinity: Number.POSITIVE_INFINITY,
};

/** `inf` and `-Infinity`, as pandas and Python write them; undefined for other texts. */
export function infinity(text: string): number | undefined {
  const [, sign, word = ''] = /^([+-]?)([a-z]+)$/i.exec(text) ?? [];
  const value = Object.hasOwn(infinities, word.toLowerCase()) ? infinities[word.toLowerCase()] : undefined;
  return value === undefined ? undefined : sign === '-' ? -value : value;
}

/** The most names that a message lists. */
const most = 20;

/** `"a", "b", "c"`. */
export function listed(names: readonly string[]): string {
  const shown = names.slice(0, most).map((name) => `"${name}"`);
  return `${shown.join(', ')}${names.length > most ? `, ... (${names.length})` : ''}`;
}
