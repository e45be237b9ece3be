/** Truncation as `truncation=True` of transformers: the longest of two texts first. */

export type Side = 'left' | 'right';

/** At most `most` entries, cut on a side. */
export function cut<T>(values: readonly T[], most: number, side: Side): readonly T[] {
  if (values.length <= most) return values;
  return side === 'left' ? values.slice(values.length - most) : values.slice(0, most);
}

/** The lengths of two texts that together have at most `most` tokens. */
export function pairLengths(first: number, second: number, most: number): readonly [number, number] {
  if (first + second <= most) return [first, second];
  const isSwapped = first > second;
  let short = isSwapped ? second : first;
  let long = short > most ? short : Math.max(short, most - short);
  if (short + long > most) {
    short = Math.floor(most / 2);
    long = short + (most % 2);
  }
  return isSwapped ? [long, short] : [short, long];
}
