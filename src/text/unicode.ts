/** Classes of characters as the Rust library has them, where those of JavaScript differ. */

/** Lower case, character by character: JavaScript's own turns a sigma at the end of a word into another letter. */
export function lowerCase(text: string): string {
  const lower = text.toLowerCase();
  return lower.includes('ς') ? Array.from(text, (char) => char.toLowerCase()).join('') : lower;
}

/** Removes combining marks. */
export const withoutMarks = (text: string): string => text.replace(/\p{M}/gu, '');

/** Removes nonspacing marks, as BERT does after NFD. */
export const withoutAccents = (text: string): string => text.normalize('NFD').replace(/\p{Mn}/gu, '');

/** The number of UTF-16 units of white space that a text begins with; `\s` has U+FEFF and lacks U+0085. */
export const leadingSpace = (text: string): number => /^\p{White_Space}+/u.exec(text)?.[0].length ?? 0;

/** The same at its end. */
export function trailingSpace(text: string): number {
  let length = 0;
  while (length < text.length && /\p{White_Space}/u.test(text[text.length - length - 1] ?? '')) length++;
  return length;
}

export const trimStart = (text: string): string => text.slice(leadingSpace(text));
export const trimEnd = (text: string): string => text.slice(0, text.length - trailingSpace(text));

/** Punctuation of ASCII and of Unicode. */
export const punctuation = '\\p{P}\\u0021-\\u002F\\u003A-\\u0040\\u005B-\\u0060\\u007B-\\u007E';

/** The blocks that BERT counts as Chinese characters. */
const chinese =
  /[\u4E00-\u9FFF\u3400-\u4DBF\u{20000}-\u{2A6DF}\u{2A700}-\u{2B73F}\u{2B740}-\u{2B81F}\u{2B920}-\u{2CEAF}\uF900-\uFAFF\u{2F800}-\u{2FA1F}]/gu;

export const aroundChinese = (text: string): string => text.replace(chinese, ' $& ');

/** Removes NUL, U+FFFD and control characters, and writes all white space as blanks. */
export const cleaned = (text: string): string =>
  text.replace(/[\0\uFFFD]|(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}]/gu, '').replace(/\p{White_Space}/gu, ' ');
