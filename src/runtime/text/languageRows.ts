/** Rows of a language model in TRL's forms: texts, prompts with completions, conversations. */

import { chatTemplate, LoraifyError } from '../../errors.ts';
import type { ChatTemplate, Conversation, Message } from '../../text/chatTemplate.ts';
import { columnNames, type Fail, findColumn, kindText, listIn, missing, textIn } from './columns.ts';
import type { Conversion, TextRow } from './textRow.ts';

type Columns = ReadonlyMap<string, unknown>;

export function languageRow(columns: Columns, how: Conversion, fail: Fail): TextRow {
  if (how.options.textColumn === undefined) {
    if (columns.has('messages')) return conversationRow(columns, how, fail);
    if (columns.has('prompt')) return promptRow(columns, how, fail);
  }
  const name = findColumn(columns, columnNames.text, how.options.textColumn);
  if (name === undefined) throw missing(columns, how.task, 'text', fail);
  return counted(how.tokenizer.encode(ended(textIn(columns, name, fail), how)).ids, () => true, how);
}

/** A text with the end token's text behind it. */
function ended(text: string, { tokenizer }: Conversion): string {
  const end = tokenizer.eos?.text ?? '';
  return text.endsWith(end) ? text : text + end;
}

/** The first tokens of a row. @param counts whether a token's position counts. */
function counted(ids: readonly number[], counts: (i: number) => boolean, how: Conversion): TextRow {
  const kept = ids.slice(0, how.maxLength);
  return { ids: kept, types: kept.map(() => 0), tags: kept.map((id, i) => (counts(i) ? id : how.ignoreIndex)) };
}

/** A prompt and its completion, which begins where the ids of the prompt and of the whole part. */
function promptRow(columns: Columns, how: Conversion, fail: Fail): TextRow {
  if (!columns.has('completion')) throw missing(columns, how.task, 'completions ("completion")', fail);
  const isChat = Array.isArray(columns.get('prompt')) || Array.isArray(columns.get('completion'));
  const { start, whole, isMarked } = (isChat ? promptedConversation : promptedText)(columns, how, fail);
  const parting = how.options.completionOnly === false ? 0 : whole.findIndex((id, i) => id !== start[i]);
  if (parting < 0) throw fail('"completion" adds no token to "prompt"');
  return counted(whole, (i) => i >= parting && isMarked?.[i] !== false, how);
}

/** The ids of a prompt alone, and of the prompt with its completion. */
interface Prompted {
  readonly start: readonly number[];
  readonly whole: readonly number[];
  /** The tokens that the assistant wrote, if only these count. */
  readonly isMarked?: readonly boolean[] | undefined;
}

function promptedText(columns: Columns, how: Conversion, fail: Fail): Prompted {
  const prompt = textIn(columns, 'prompt', fail, true);
  const completion = ended(textIn(columns, 'completion', fail), how);
  const { tokenizer } = how;
  return { start: tokenizer.encode(prompt).ids, whole: tokenizer.encode(prompt + completion).ids };
}

/** The prompt is rendered with the prompt for the assistant's turn. */
function promptedConversation(columns: Columns, how: Conversion, fail: Fail): Prompted {
  const prompt = messagesIn(columns, 'prompt', fail);
  const tools = toolsIn(columns, fail);
  const conversation = { messages: [...prompt, ...messagesIn(columns, 'completion', fail)], tools };
  const { text } = inRow(fail, () => templateFor(tools, how).render({ messages: prompt, tools }, true));
  const { ids, isMarked } = rendered(conversation, how, fail);
  return { start: how.tokenizer.encode(text, { addsSpecial: false }).ids, whole: ids, isMarked };
}

function conversationRow(columns: Columns, how: Conversion, fail: Fail): TextRow {
  const conversation = { messages: messagesIn(columns, 'messages', fail), tools: toolsIn(columns, fail) };
  const { ids, isMarked } = rendered(conversation, how, fail);
  return counted(ids, (i) => isMarked?.[i] !== false, how);
}

/** A conversation as ids, and which of them the assistant wrote if only these count. */
function rendered(
  conversation: Conversation,
  how: Conversion,
  fail: Fail,
): { readonly ids: readonly number[]; readonly isMarked?: readonly boolean[] } {
  const template = templateFor(conversation.tools, how);
  const { tokenizer, options } = how;
  if (options.assistantOnly !== true) {
    const { text } = inRow(fail, () => template.render(conversation));
    return { ids: tokenizer.encode(text, { addsSpecial: false }).ids };
  }
  const { text, spans } = inRow(fail, () => template.renderTurns(conversation));
  const marked = tokenizer.encodeSpans(text, spans);
  if (marked !== undefined) return marked;
  return inRow(fail, () => {
    throw chatTemplate(
      "the assistant's turns begin or end inside a token that cannot be aligned with its text",
      'leave out --assistant-only, so that all tokens count',
    );
  });
}

/** Runs an action of a template; its errors name the row. */
function inRow<T>(fail: Fail, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof LoraifyError) || error.code !== 'CHAT_TEMPLATE') throw error;
    const { message, file } = fail(error.message);
    throw chatTemplate(message, error.hint, file);
  }
}

function templateFor(tools: Conversation['tools'], { templates }: Conversion): ChatTemplate {
  if (templates === undefined)
    throw chatTemplate(
      'the tokenizer has no chat template, which conversations need',
      'put chat_template.jinja, or "chat_template" in tokenizer_config.json, beside tokenizer.json and compile again; or give rows with "text", or "prompt" and "completion"',
    );
  return tools === undefined ? templates.usual : templates.withTools;
}

/** A list of turns: objects with a role. */
function messagesIn(columns: Columns, name: string, fail: Fail): readonly Message[] {
  const list = listIn(columns, name, fail);
  if (list.length === 0) throw fail(`"${name}" is empty`);
  return list.map((item, i) => {
    if (!isObject(item)) throw fail(`"${name}"[${i}] is ${kindText(item)}, not an object with "role" and "content"`);
    if (typeof item.role !== 'string' || item.role === '') throw fail(`"${name}"[${i}] has no "role"`);
    if (!Object.hasOwn(item, 'content') && !Object.hasOwn(item, 'tool_calls'))
      throw fail(`"${name}"[${i}] has no "content"`);
    return item;
  });
}

const isObject = (value: unknown): value is Message =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The schemas of functions, as a list or as its JSON text. */
function toolsIn(columns: Columns, fail: Fail): readonly unknown[] | undefined {
  const value = columns.get('tools');
  if (value === undefined || value === null || value === '') return undefined;
  const tools = listIn(columns, 'tools', fail);
  return tools.length === 0 ? undefined : tools;
}
