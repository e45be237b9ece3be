/**
 * Python's strip, lstrip and rstrip with an argument, which @huggingface/jinja ignores: such calls are written as calls of
 * functions before a template is compiled.
 */

/** The functions, by the method that each replaces. */
const names = { strip: 'loraify_strip', lstrip: 'loraify_lstrip', rstrip: 'loraify_rstrip' } as const;
type Method = keyof typeof names;

/** Values for the template. */
export const stripFunctions: Readonly<Record<string, (text: unknown, characters: unknown) => string>> = {
  [names.strip]: (text, characters) => right(left(String(text), String(characters)), String(characters)),
  [names.lstrip]: (text, characters) => left(String(text), String(characters)),
  [names.rstrip]: (text, characters) => right(String(text), String(characters)),
};

function left(text: string, characters: string): string {
  const set = new Set(characters);
  const chars = Array.from(text);
  const start = chars.findIndex((char) => !set.has(char));
  return start < 0 ? '' : chars.slice(start).join('');
}

function right(text: string, characters: string): string {
  const set = new Set(characters);
  const chars = Array.from(text);
  const end = chars.findLastIndex((char) => !set.has(char));
  return chars.slice(0, end + 1).join('');
}

const call = /\.(l?strip|rstrip)\((?!\s*\))/;

/** The source with `x.strip('a')` as `loraify_strip(x, 'a')`, from the left: the operand of a call has no other. */
export function withStrips(source: string): string {
  let text = source;
  for (let found = call.exec(text); found !== null; found = call.exec(text)) {
    const method = found[1] ?? '';
    const end = closingOf(text, found.index + found[0].length - 1);
    const start = operandStart(text, found.index);
    if (!isMethod(method) || end === undefined || start === found.index) return source;
    const [operand, given] = [text.slice(start, found.index), text.slice(found.index + found[0].length, end)];
    text = `${text.slice(0, start)}${names[method]}(${operand}, ${given})${text.slice(end + 1)}`;
  }
  return text;
}

const isMethod = (name: string): name is Method => Object.hasOwn(names, name);

/** The place of the bracket that closes the one at `open`. */
function closingOf(text: string, open: number): number | undefined {
  let depth = 0;
  for (let i = open; i < text.length; i++) {
    const char = text[i] ?? '';
    if (char === '"' || char === "'") {
      i = stringEnd(text, i);
      continue;
    }
    if ('([{'.includes(char)) depth++;
    else if (')]}'.includes(char)) depth--;
    if (depth === 0) return i;
  }
  return undefined;
}

/** The place of the quote that closes the one at `open`. */
function stringEnd(text: string, open: number): number {
  for (let i = open + 1; i < text.length; i++) {
    if (text[i] === '\\') i++;
    else if (text[i] === text[open]) return i;
  }
  return text.length;
}

/** The start of the expression that ends before `end`: names, members, calls, subscripts and texts. */
function operandStart(text: string, end: number): number {
  let at = end;
  while (at > 0) {
    const char = text[at - 1] ?? '';
    if (/[\w.]/.test(char)) at--;
    else if (char === ')' || char === ']') {
      const open = openingOf(text, at - 1);
      if (open === undefined) return at;
      at = open;
    } else if ((char === '"' || char === "'") && at === end) {
      const open = text.lastIndexOf(char, at - 2);
      return open < 0 ? at : open;
    } else return at;
  }
  return at;
}

/** The place of the bracket that the one at `close` closes. */
function openingOf(text: string, close: number): number | undefined {
  let depth = 0;
  for (let i = close; i >= 0; i--) {
    const char = text[i] ?? '';
    if ((char === '"' || char === "'") && i < close) {
      i = text.lastIndexOf(char, i - 1);
      if (i < 0) return undefined;
      continue;
    }
    if (')]}'.includes(char)) depth++;
    else if ('([{'.includes(char)) depth--;
    if (depth === 0) return i;
  }
  return undefined;
}
