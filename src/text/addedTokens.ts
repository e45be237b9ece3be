/** Added tokens: texts that are found before the model splits a text, with the rules of the Rust library. */

import { leadingSpace, trailingSpace } from './unicode.ts';

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  /** Found only as a whole word. */
  readonly single_word: boolean;
  /** White space before or behind it belongs to it. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  /** Found in the normalized text instead of the text itself. */
  readonly normalized: boolean;
  readonly special: boolean;
}

/** A part of a text: an added token, or a text between them. */
export interface Section {
  readonly text: string;
  /** Its start in the text, in UTF-16 units. */
  readonly start: number;
  readonly token?: AddedToken | undefined;
}

const word = '[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]';
const startsWithWord = new RegExp(`^${word}`, 'u');
const endsWithWord = new RegExp(`${word}$`, 'u');

/** Splits a text at the tokens; of several at one place the longest is taken. @param tokens by the text to look for. */
export function splitter(tokens: ReadonlyMap<string, AddedToken>): (text: string) => readonly Section[] {
  const contents = [...tokens.keys()].filter((content) => content !== '').sort((a, b) => b.length - a.length);
  if (contents.length === 0) return (text) => [{ text, start: 0 }];
  const pattern = new RegExp(
    contents.map((content) => content.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&')).join('|'),
    'gu',
  );
  return (text) => {
    const sections: Section[] = [];
    let done = 0;
    for (const match of text.matchAll(pattern)) {
      const token = tokens.get(match[0]);
      if (token === undefined) continue;
      let start = match.index;
      let end = start + match[0].length;
      const [before, behind] = [text.slice(0, start), text.slice(end)];
      if (token.single_word && (endsWithWord.test(before) || startsWithWord.test(behind))) continue;
      // White space that belongs to the token before stays there.
      if (token.lstrip) start = Math.max(start - trailingSpace(before), done);
      if (token.rstrip) end += leadingSpace(behind);
      if (done < start) sections.push({ text: text.slice(done, start), start: done });
      sections.push({ text: text.slice(start, end), start, token });
      done = end;
    }
    if (done < text.length) sections.push({ text: text.slice(done), start: done });
    return sections;
  };
}
