/** For expect(...).toThrow: an error of this code whose message has all the fragments. */
export function coded(code: string, ...fragments: readonly string[]): (error: unknown) => boolean {
  return (error) =>
    error instanceof Error &&
    'code' in error &&
    error.code === code &&
    fragments.every((fragment) => error.message.includes(fragment));
}

/** For expect(...).toThrow: the same with this hint. */
export const hinted =
  (code: string, hint: string, ...fragments: readonly string[]): ((error: unknown) => boolean) =>
  (error) =>
    coded(code, ...fragments)(error) && error instanceof Error && 'hint' in error && error.hint === hint;
