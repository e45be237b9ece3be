/**
 * Translates Python's regular expressions (module `re`, str patterns) to JavaScript's. A construct without an exact
 * counterpart is refused with BAD_PATTERN, so that it never matches something else. Differences handled: named groups,
 * \A \Z \a, Unicode meaning of \w \d \s \b, `$` before a final newline, `.` and line separators, possessive quantifiers
 * and atomic groups, literal braces, global and scoped inline flags. Source:
 * https://docs.python.org/3/library/re.html#regular-expression-syntax
 */

import { badPattern } from '../errors.ts';
import { classBody, type Flags, readEscape, shorthand } from './pythonRegexParts.ts';

/** re.fullmatch(pattern, text) is not None. `what` is the pattern's origin, for messages. Errors: BAD_PATTERN. */
export function fullMatcher(pattern: string, what: string): (text: string) => boolean {
  const regex = translate(pattern, what, (body) => `^(?:${body})$`);
  return (text) => regex.test(text);
}

/** re.match(pattern, text): a match at the beginning. The groups by name are in `groups`. Errors: BAD_PATTERN. */
export function prefixMatcher(pattern: string, what: string): (text: string) => RegExpExecArray | null {
  const regex = translate(pattern, what, (body) => `^(?:${body})`);
  return (text) => regex.exec(text);
}

/** A pattern that matches only `text`, escaped for both Python and JavaScript. */
export function escapePattern(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}

interface Group {
  readonly jsNumber: number;
  /** Optional groups may be unset when a reference reads them: empty in JavaScript, a failure in Python. */
  optional: boolean;
  closed: boolean;
}

function translate(pattern: string, what: string, wrap: (body: string) => string): RegExp {
  const fail = (reason: string): Error => badPattern(pattern, what, reason);
  const { flags, rest } = globalFlags(pattern, fail);
  const body = translateBody(rest, flags, fail);
  try {
    return new RegExp(wrap(body), flags.ignoreCase ? 'vi' : 'v');
  } catch (error) {
    throw fail(error instanceof Error ? error.message.replace(/^.*: /, '') : 'it is malformed');
  }
}

/** Global flags such as `(?i)`, which Python allows only at the very beginning. */
function globalFlags(pattern: string, fail: (reason: string) => Error): { flags: Flags; rest: string } {
  const letters = /^\(\?([aiLmsux]+)\)/.exec(pattern);
  const set = letters?.[1] ?? '';
  if (set.includes('L')) throw fail('the flag L needs a bytes pattern');
  return {
    flags: {
      ascii: set.includes('a'),
      ignoreCase: set.includes('i'),
      multiline: set.includes('m'),
      dotAll: set.includes('s'),
      verbose: set.includes('x'),
    },
    rest: pattern.slice(letters?.[0].length ?? 0),
  };
}

/**
 * Recursive descent in one pass: the output is JavaScript for the flag v, without the meaning-changing flags m and s.
 * Longer than 60 lines because every rule of the grammar reads and moves the same position and the same groups.
 */
function translateBody(source: string, startFlags: Flags, fail: (reason: string) => Error): string {
  const chars = [...source];
  const groups: Group[] = [];
  const names = new Map<string, Group>();
  let at = 0;
  let jsGroups = 0;

  const peek = (text: string): boolean => text === chars.slice(at, at + text.length).join('');
  const take = (text: string): boolean => {
    if (!peek(text)) return false;
    at += text.length;
    return true;
  };
  const until = (end: string): string => {
    const start = at;
    while (at < chars.length && chars[at] !== end) at += 1;
    if (at === chars.length) throw fail(`a ${end} is missing`);
    return chars.slice(start, at++).join('');
  };
  const optionalFrom = (first: number): void => {
    for (const group of groups.slice(first)) group.optional = true;
  };

  function alternatives(flags: Flags): string {
    const first = groups.length;
    let out = sequence(flags);
    while (take('|')) {
      optionalFrom(first);
      out += `|${sequence(flags)}`;
      optionalFrom(first);
    }
    return out;
  }

  function sequence(flags: Flags): string {
    let out = '';
    while (at < chars.length && !peek('|') && !peek(')')) {
      if (flags.verbose && skipVerbose()) continue;
      const first = groups.length;
      const jsBefore = jsGroups;
      const piece = atom(flags);
      out += quantified(piece, flags, first, jsBefore);
    }
    return out;
  }

  function skipVerbose(): boolean {
    const char = chars[at] ?? '';
    if (/[ \t\n\r\f\v]/.test(char)) {
      at += 1;
      return true;
    }
    if (char !== '#') return false;
    while (at < chars.length && chars[at] !== '\n') at += 1;
    return true;
  }

  /** The quantifier after an atom: `*`, `{2,3}`, lazy or possessive. */
  function quantified(
    piece: { text: string; repeatable: boolean },
    flags: Flags,
    first: number,
    jsBefore: number,
  ): string {
    while (flags.verbose && at < chars.length && skipVerbose());
    const count = quantifier();
    if (count === undefined) return piece.text;
    if (!piece.repeatable) throw fail('there is nothing to repeat');
    if (count.startsWith('*') || count.startsWith('?') || /^\{0*[,}]/.test(count)) optionalFrom(first);
    const lazy = take('?');
    const possessive = !lazy && take('+');
    if (quantifier() !== undefined) throw fail('a quantifier follows a quantifier');
    const text = `${piece.text}${count}${lazy ? '?' : ''}`;
    if (!possessive) return text;
    if (jsGroups > jsBefore) throw fail('a group inside a possessive quantifier is not supported');
    return atomic(text);
  }

  function quantifier(): string | undefined {
    const char = chars[at];
    if (char === '*' || char === '+' || char === '?') {
      at += 1;
      return char;
    }
    if (char !== '{') return undefined;
    const range = /^\{(\d*)(,?)(\d*)\}/.exec(chars.slice(at, at + 32).join(''));
    if (range === null || (range[1] === '' && range[2] === '')) return undefined; // a literal brace
    at += range[0].length;
    return `{${range[1] || '0'}${range[2]}${range[3]}}`;
  }

  /** A lookahead never backtracks into its match: consuming its capture again makes an atomic group. */
  function atomic(text: string): string {
    jsGroups += 1;
    return `(?:(?=(${text}))\\${jsGroups})`;
  }

  function atom(flags: Flags): { text: string; repeatable: boolean } {
    const char = chars[at++] ?? '';
    const simple = (text: string) => ({ text, repeatable: true });
    const assertion = (text: string) => ({ text, repeatable: false });
    switch (char) {
      case '.':
        return simple(flags.dotAll ? '[\\s\\S]' : '[^\\n]');
      case '^':
        return assertion(flags.multiline ? '(?<![^\\n])' : '(?<![\\s\\S])');
      case '$':
        return assertion(flags.multiline ? '(?![^\\n])' : '(?=\\n?(?![\\s\\S]))');
      case '(':
        return group(flags);
      case '[': {
        const { text, next } = classBody(chars, at, flags, fail);
        at = next;
        return simple(text);
      }
      case '\\':
        return escaped(flags);
      case '*':
      case '+':
      case '?':
        throw fail('there is nothing to repeat');
      default:
        return simple(escapePattern(char));
    }
  }

  function escaped(flags: Flags): { text: string; repeatable: boolean } {
    const char = chars[at] ?? '';
    if (/[1-9]/.test(char)) {
      const digits = /^\d{1,2}/.exec(chars.slice(at, at + 2).join(''))?.[0] ?? '';
      const octal = /^[0-3][0-7]{2}/.exec(chars.slice(at, at + 3).join(''));
      if (octal === null) {
        at += digits.length;
        return { text: reference(groups[Number(digits) - 1], digits), repeatable: true };
      }
    }
    if ('AZzbB'.includes(char) && char !== '') {
      at += 1;
      if (char === 'A') return { text: '(?<![\\s\\S])', repeatable: false };
      if (char === 'Z' || char === 'z') return { text: '(?![\\s\\S])', repeatable: false };
      const word = shorthand('w', flags);
      const text =
        char === 'b'
          ? `(?:(?<=${word})(?!${word})|(?<!${word})(?=${word}))`
          : `(?:(?<=${word})(?=${word})|(?<!${word})(?!${word}))`;
      return { text, repeatable: false };
    }
    const { text, next } = readEscape(chars, at, flags, fail);
    at = next;
    return { text, repeatable: true };
  }

  function reference(target: Group | undefined, name: string): string {
    if (target === undefined || !target.closed) throw fail(`there is no closed group ${name} to refer to`);
    if (target.optional) throw fail(`a reference to the group ${name}, which may be unset, is not supported`);
    return `(?:\\${target.jsNumber})`;
  }

  function group(flags: Flags): { text: string; repeatable: boolean } {
    const close = (text: string): string => {
      if (!take(')')) throw fail('a ) is missing');
      return `${text})`;
    };
    const capture = (open: string, name?: string): { text: string; repeatable: boolean } => {
      jsGroups += 1;
      const entry: Group = { jsNumber: jsGroups, optional: false, closed: false };
      groups.push(entry);
      if (name !== undefined) {
        if (!/^[\p{L}_][\p{L}\p{N}_]*$/u.test(name)) throw fail(`"${name}" is not a group name`);
        if (names.has(name)) throw fail(`two groups are named "${name}"`);
        names.set(name, entry);
      }
      const text = close(`${open}${alternatives(flags)}`);
      entry.closed = true;
      return { text, repeatable: true };
    };

    if (!take('?')) return capture('(');
    if (take('P<')) {
      const name = until('>');
      return capture(`(?<${name}>`, name);
    }
    if (take('P=')) {
      const name = until(')');
      return { text: reference(names.get(name), `"${name}"`), repeatable: true };
    }
    if (take('#')) {
      until(')');
      return { text: '', repeatable: false };
    }
    if (take(':')) return { text: close(`(?:${alternatives(flags)}`), repeatable: true };
    for (const look of ['=', '!', '<=', '<!']) {
      if (!take(look)) continue;
      const first = groups.length;
      const text = close(`(?${look}${alternatives(flags)}`);
      if (look.endsWith('!')) optionalFrom(first);
      return { text: `(?:${text})`, repeatable: true };
    }
    if (take('>')) {
      const number = ++jsGroups;
      return { text: `${close(`(?:(?=(${alternatives(flags)})`)}\\${number})`, repeatable: true };
    }
    if (take('(')) throw fail('conditional groups (?(1)...) are not supported');
    const scoped = /^([aiLmsux]*)(-[imsx]+)?:/.exec(chars.slice(at, at + 16).join(''));
    if (scoped !== null) {
      at += scoped[0].length;
      return {
        text: close(`(?:${alternatives(scopedFlags(flags, scoped[1] ?? '', scoped[2] ?? ''))}`),
        repeatable: true,
      };
    }
    throw fail('a group (?... of this kind is not supported, or inline flags are not at the beginning');
  }

  function scopedFlags(flags: Flags, on: string, off: string): Flags {
    const ignoreCase = (flags.ignoreCase || on.includes('i')) && !off.includes('i');
    if (ignoreCase !== startFlags.ignoreCase) throw fail('the flag i for a part of the pattern is not supported');
    if (on.includes('L')) throw fail('the flag L needs a bytes pattern');
    return {
      ignoreCase,
      ascii: on.includes('a') || (flags.ascii && !on.includes('u')),
      multiline: (flags.multiline || on.includes('m')) && !off.includes('m'),
      dotAll: (flags.dotAll || on.includes('s')) && !off.includes('s'),
      verbose: (flags.verbose || on.includes('x')) && !off.includes('x'),
    };
  }

  const body = alternatives(startFlags);
  if (at < chars.length) throw fail('a ) has no (');
  return body;
}
