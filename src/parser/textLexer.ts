/**
 * Reads ONNX's textual syntax character by character, as its official parser does: tokens depend on what is expected.
 */
import { type LoraifyError, textSyntax } from '../errors.ts';

const [space, quote, hash, backslash] = [32, 34, 35, 92];
const wordPattern = /[A-Za-z_][A-Za-z0-9_]*/y;
const numberPattern = /-?(?:(?:inf|infinity|nan)(?![A-Za-z0-9_])|\d+(\.\d*)?([eE][+-]?\d+)?)/iy;
/** The excerpt of the text that a message quotes: a word or number, a short string, or one character. */
const tokenPattern = /[A-Za-z0-9_.+-]{1,40}|"[^"\n]{0,40}"?|./sy;

export interface Literal {
  readonly kind: 'int' | 'float' | 'string';
  /** The content of a string, the digits of a number. */
  readonly text: string;
  readonly at: number;
}

export interface Name {
  readonly name: string;
  readonly at: number;
}

export class TextLexer {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** Offset of the next token. */
  get at(): number {
    this.#skip();
    return this.#at;
  }

  get atEnd(): boolean {
    return this.at >= this.#text.length;
  }

  /** The next token's first character, '' at the end. */
  peek(): string {
    return this.#text.charAt(this.at);
  }

  /** Consumes `ch` if it is next. */
  matches(ch: string): boolean {
    if (!this.#text.startsWith(ch, this.at)) return false;
    this.#at += ch.length;
    return true;
  }

  expect(ch: string, context: string): void {
    if (!this.matches(ch)) throw this.fail(`expected "${ch}" ${context}, found ${this.found()}`);
  }

  /** A bare word, '' if there is none. */
  word(): string {
    const word = this.peekWord();
    this.#at += word.length;
    return word;
  }

  peekWord(): string {
    return this.#match(wordPattern)?.[0] ?? '';
  }

  /** A bare word or a quoted name; undefined if there is neither. */
  optionalName(): Name | undefined {
    const at = this.at;
    if (this.peek() === '"') return { name: this.#string().text, at };
    const name = this.word();
    return name === '' ? undefined : { name, at };
  }

  name(context: string): Name {
    const name = this.optionalName();
    if (name === undefined) throw this.fail(`expected a name ${context}, found ${this.found()}`);
    return name;
  }

  string(context: string): string {
    if (this.peek() !== '"') throw this.fail(`expected a quoted string ${context}, found ${this.found()}`);
    return this.#string().text;
  }

  literal(context: string): Literal {
    if (this.peek() === '"') return this.#string();
    const at = this.at;
    const [text = '', fraction, exponent] = this.#match(numberPattern) ?? [];
    if (text === '') throw this.fail(`expected a value ${context}, found ${this.found()}`);
    this.#at += text.length;
    const isInt = fraction === undefined && exponent === undefined && /\d$/.test(text);
    return { kind: isInt ? 'int' : 'float', text, at };
  }

  /** The next token, for messages. */
  found(): string {
    const token = this.#match(tokenPattern)?.[0];
    return token === undefined ? 'the end of the text' : token.startsWith('"') ? token : `"${token}"`;
  }

  fail(reason: string, at = this.at): LoraifyError {
    const { line, column } = this.position(at);
    return textSyntax(reason, line, column);
  }

  /** Line and column, both from 1. */
  position(at: number): { line: number; column: number } {
    const before = this.#text.slice(0, at);
    return { line: before.split('\n').length, column: at - before.lastIndexOf('\n') };
  }

  #skip(): void {
    for (; this.#at < this.#text.length; this.#at++) {
      const c = this.#text.charCodeAt(this.#at);
      if (c === hash) {
        const end = this.#text.indexOf('\n', this.#at);
        this.#at = end < 0 ? this.#text.length - 1 : end;
      } else if (c !== space && (c < 9 || c > 13)) return;
    }
  }

  /**
   * A backslash only escapes the next character: there is no
   * , and a string may contain line breaks.
   */
  #string(): Literal {
    const at = this.at;
    let end = at + 1;
    for (; this.#text.charCodeAt(end) !== quote; end++) {
      if (this.#text.charCodeAt(end) === backslash) end++;
      if (end >= this.#text.length) throw this.fail('the string that starts here does not end', at);
    }
    this.#at = end + 1;
    return { kind: 'string', text: this.#text.slice(at + 1, end).replace(/\\(.)/gs, '$1'), at };
  }

  #match(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.at;
    return pattern.exec(this.#text) ?? undefined;
  }
}
