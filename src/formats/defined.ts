/** Objects without fields that are undefined: a field that is absent is absent, in JSON and in memory alike. */

type Optional<T> = { [K in keyof T]: undefined extends T[K] ? K : never }[keyof T];

type Defined<T> = { [K in Exclude<keyof T, Optional<T>>]: T[K] } & {
  [K in Optional<T>]?: Exclude<T[K], undefined>;
};

/**
 * A copy of `fields` without those that are undefined: `defined({ a, b })` for `{ ...(a === undefined ? {} : { a }), b
 * }`.
 */
export function defined<T extends object>(fields: T): Defined<T>;
export function defined(fields: object): object {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
