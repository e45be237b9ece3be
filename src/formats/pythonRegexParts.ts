/**
 * The leaves of a Python regular expression: escapes, shorthands and character classes, as JavaScript with the flag v.
 */

export interface Flags {
  readonly ascii: boolean;
  readonly ignoreCase: boolean;
  readonly multiline: boolean;
  readonly dotAll: boolean;
  readonly verbose: boolean;
}

type Fail = (reason: string) => Error;

interface Leaf {
  readonly text: string;
  /** Index of the first character after the leaf. */
  readonly next: number;
  /** The code point of a single character; absent for a shorthand such as \d. */
  readonly codePoint?: number;
}

/** The characters that Python's str.isspace accepts, which differ from JavaScript's \s. */
const spaces = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';

/** \d \w \s and their complements \D \W \S, as a class. */
export function shorthand(letter: string, flags: Flags): string {
  const sets: Readonly<Record<string, string>> = flags.ascii
    ? { d: '0-9', w: 'a-zA-Z0-9_', s: ' \\t\\n\\r\\f\\v' }
    : { d: '\\p{Nd}', w: '\\p{L}\\p{N}_', s: spaces };
  const lower = letter.toLowerCase();
  return `[${letter === lower ? '' : '^'}${sets[lower]}]`;
}

const controls: Readonly<Record<string, number>> = { a: 7, f: 12, n: 10, r: 13, t: 9, v: 11 };

/** An escape that means the same inside and outside a class; `at` is the index after the backslash. */
export function readEscape(chars: readonly string[], at: number, flags: Flags, fail: Fail): Leaf {
  const char = chars[at];
  if (char === undefined) throw fail('it ends in a backslash');
  if (/[dwsDWS]/.test(char)) return { text: shorthand(char, flags), next: at + 1 };
  const rest = chars.slice(at, at + 9).join('');
  const hex = /^(?:x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8}))/.exec(rest);
  if (hex !== null) return point(Number.parseInt(hex[1] ?? hex[2] ?? hex[3] ?? '', 16), at + hex[0].length, fail);
  const octal = /^(?:0[0-7]{0,2}|[0-3][0-7]{2})/.exec(rest);
  if (octal !== null) return point(Number.parseInt(octal[0], 8), at + octal[0].length, fail);
  const control = controls[char];
  if (control !== undefined) return point(control, at + 1, fail);
  if (/[A-Za-z0-9]/.test(char)) throw fail(`the escape \\${char} is unknown or not supported`);
  return point(char.codePointAt(0) ?? 0, at + 1, fail);
}

/** A class; `at` is the index after its `[`. Brackets, `&&` and `--` inside are plain characters, as in Python. */
export function classBody(chars: readonly string[], at: number, flags: Flags, fail: Fail): Leaf {
  let next = at;
  const negated = chars[next] === '^';
  if (negated) next += 1;
  const first = next;

  const member = (): Leaf => {
    const char = chars[next];
    if (char === undefined) throw fail('a ] is missing');
    const leaf =
      char !== '\\'
        ? point(char.codePointAt(0) ?? 0, next + 1, fail)
        : chars[next + 1] === 'b'
          ? point(8, next + 2, fail)
          : readEscape(chars, next + 1, flags, fail);
    next = leaf.next;
    return leaf;
  };

  let text = '';
  while (chars[next] !== ']' || next === first) {
    const low = member();
    if (chars[next] !== '-' || chars[next + 1] === ']' || chars[next + 1] === undefined) {
      text += low.text;
      continue;
    }
    next += 1;
    const high = member();
    if (low.codePoint === undefined || high.codePoint === undefined || low.codePoint > high.codePoint) {
      throw fail('a range in a class has no valid ends');
    }
    text += `${low.text}-${high.text}`;
  }
  return { text: `[${negated ? '^' : ''}${text}]`, next: next + 1 };
}

function point(codePoint: number, next: number, fail: Fail): Leaf {
  if (codePoint > 0x10ffff) throw fail('a character code is beyond U+10FFFF');
  return { text: `\\u{${codePoint.toString(16)}}`, next, codePoint };
}
