import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { LoraifyError } from '../../src/errors.ts';
import { compileChatTemplate } from '../../src/text/chatTemplate.ts';
import { loadTokenizer } from '../../src/text/load.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';
import { writeTokenizer } from '../support/textTokenizers.ts';

const text = z.union([z.string(), z.object({ error: z.string() })]);
const recordedRow = z.object({
  text,
  /** With the prompt for the assistant's turn. */
  prompted: text,
  tagged: text,
  ids: z.array(z.number()).optional(),
  mask: z.array(z.number()).optional(),
});
const recorded = z.object({
  conversations: z.array(
    z.object({ messages: z.array(z.record(z.string(), z.unknown())), tools: z.array(z.unknown()).optional() }),
  ),
  cases: z.array(
    z.object({
      name: z.string(),
      tokenizer: z.string(),
      template: z.string(),
      /** The same with {% generation %}; uniform ones mark all turns. */
      tagged: z.string(),
      isUniform: z.boolean(),
      rows: z.array(recordedRow),
    }),
  ),
});
const { conversations, cases: all } = recorded.parse(JSON.parse(readFileSync('fixtures/text/chat.json', 'utf8')));

/** Templates that do not read parts of contents write their source text in Python; here they refuse them. */
const cases = all.map((one) => ({
  ...one,
  rows: one.rows.map((row, i): z.infer<typeof recordedRow> => {
    const hasParts = conversations[i]?.messages.some(({ content }) => Array.isArray(content)) === true;
    const refused = { error: 'parts' };
    return hasParts && one.name !== 'parts' ? { text: refused, prompted: refused, tagged: refused } : row;
  }),
}));

const scratch = temporaryFolder();
const open = (kind: string) => loadTokenizer(writeTokenizer(scratch, kind));

/** The rendered text, or the code of the error. */
function outcome<T>(action: () => T): T | string {
  try {
    return action();
  } catch (error) {
    if (error instanceof LoraifyError) return error.code;
    throw error;
  }
}
const wanted = (found: z.infer<typeof text>): string => (typeof found === 'string' ? found : 'CHAT_TEMPLATE');

describe.each(cases)('$name', ({ name, tokenizer: kind, template, tagged, isUniform, rows }) => {
  test('texts, with and without the prompt for a turn', async () => {
    const { specials } = await open(kind);
    const { render } = await compileChatTemplate(template, specials);
    for (const [i, row] of rows.entries()) {
      const conversation = conversations[i] ?? { messages: [] };
      expect(outcome(() => render(conversation).text)).toBe(wanted(row.text));
      expect(outcome(() => render(conversation, true).text)).toBe(wanted(row.prompted));
    }
  });

  test('ids, and the tokens between generation tags', async () => {
    const tokenizer = await open(kind);
    const { render, marksTurns } = await compileChatTemplate(tagged, tokenizer.specials);
    expect(marksTurns).toBe(true);
    for (const [i, row] of rows.entries()) {
      const made = outcome(() => render(conversations[i] ?? { messages: [] }));
      if (typeof made === 'string') {
        expect(made).toBe(wanted(row.tagged));
        continue;
      }
      expect(made.text).toBe(row.tagged);
      expect(tokenizer.encode(made.text, { addsSpecial: false }).ids).toEqual(row.ids);
      const marked = tokenizer.encodeSpans(made.text, made.spans);
      // Unknown characters of Unigram have no place in the text.
      if (kind === 'xlmr' && marked === undefined) continue;
      expect(marked?.ids).toEqual(row.ids);
      expect(marked?.isMarked.map(Number)).toEqual(row.mask);
    }
  });

  // Tags change the white space of some templates.
  const isComparable = !isUniform && rows.some((row) => typeof row.text === 'string' && row.text === row.tagged);
  if (!isComparable) return;
  test("without tags, the assistant's turns are found by what they add, or refused", async () => {
    const tokenizer = await open(kind);
    const { renderTurns } = await compileChatTemplate(template, tokenizer.specials);
    const found = rows.map((row, i): boolean => {
      const made = outcome(() => renderTurns(conversations[i] ?? { messages: [] }));
      if (typeof made === 'string') {
        expect(made).toBe('CHAT_TEMPLATE');
        return false;
      }
      if (made.text !== row.tagged) return false;
      const marked = tokenizer.encodeSpans(made.text, made.spans);
      // This template ends a conversation with a token of its own, which counts for the last turn.
      const isEnded = name === 'phi' && conversations[i]?.messages.at(-1)?.role === 'assistant';
      const last = row.mask?.lastIndexOf(1) ?? -1;
      expect(marked?.isMarked.map(Number)).toEqual(row.mask?.map((mark, at) => (isEnded && at > last ? 1 : mark)));
      return true;
    });
    expect(found.filter((one) => one === true).length).toBeGreaterThan(0);
  });
});
