/** The Markdown pages of the repository, and what the tests of them look at: links, anchors, blocks of code, inline code. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { lexer, walkTokens } from 'marked';

export const root = join(import.meta.dirname, '../..');

/** Files of the repository, new ones included. */
export const tracked: readonly string[] = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '-z'], {
  cwd: root,
  encoding: 'utf8',
  maxBuffer: 1 << 26,
})
  .split('\0')
  .filter((file) => file !== '');

export interface Block {
  /** The word behind the fence; empty without one. */
  readonly lang: string;
  readonly text: string;
}

export interface Page {
  /** From the root. */
  readonly file: string;
  readonly text: string;
  readonly blocks: readonly Block[];
  /** Targets of links and images. */
  readonly links: readonly string[];
  readonly anchors: ReadonlySet<string>;
  /** Inline code. */
  readonly spans: readonly string[];
}

/** The anchor that GitHub gives a heading. */
const slug = (heading: string): string =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .replaceAll(' ', '-');

function readPage(file: string): Page {
  const text = readFileSync(join(root, file), 'utf8');
  const blocks: Block[] = [];
  const links: string[] = [];
  const spans: string[] = [];
  const anchors = new Map<string, number>();
  walkTokens(lexer(text), (token) => {
    if (token.type === 'code') blocks.push({ lang: token.lang ?? '', text: token.text });
    if (token.type === 'codespan') spans.push(token.text);
    if (token.type === 'link' || token.type === 'image') links.push(token.href);
    if (token.type !== 'heading') return;
    const name = slug(token.text);
    const before = anchors.get(name) ?? 0;
    anchors.set(before === 0 ? name : `${name}-${before}`, 1);
    anchors.set(name, before + 1);
  });
  return { file, text, blocks, links, anchors: new Set(anchors.keys()), spans };
}

export const pages: readonly Page[] = tracked.filter((file) => file.endsWith('.md')).map(readPage);

export function pageOf(file: string): Page {
  const page = pages.find((p) => p.file === file);
  if (page === undefined) throw new Error(`there is no page ${file}`);
  return page;
}

/** `$ command` and the lines that it prints, of a block `console`. */
export interface Run {
  readonly command: string;
  readonly output: string;
}

export function runsOf({ text }: Block): Run[] {
  const whole = text.replace(/\\\n\s*/g, '');
  return whole.split(/^\$ /m).flatMap((part, i) => {
    if (i === 0) return part.trim() === '' ? [] : [{ command: '', output: part }];
    const [command = '', ...lines] = part.split('\n');
    return [{ command, output: lines.join('\n').trimEnd() }];
  });
}

/** The simple commands of a shell text, as words: loops and variables in front of a command are taken off. */
export function commandsOf({ lang, text }: Block): string[][] {
  const lines = lang === 'console' ? runsOf({ lang, text }).map((r) => r.command) : [text.replace(/\\\n\s*/g, '')];
  return lines
    .join('\n')
    .split(/\n|;|&&/)
    .map((line) => line.replace(/(?:^|\s)#.*/, '').trim())
    .map((line) => line.replace(/^(?:for \w+ in .*|done|do )/, '').replace(/^(?:[A-Z_]+=\S* )+/, ''))
    .filter((line) => line !== '')
    .map((line) => line.split(/\s+/));
}
