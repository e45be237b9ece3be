/** Chat templates: conversations as text, with the parts that the assistant wrote. */

import type { Template } from '@huggingface/jinja';
import { chatTemplate } from '../errors.ts';
import { stripFunctions, withStrips } from './jinjaStrips.ts';

/** A turn: role, content, and whatever else the template reads. */
export type Message = Readonly<Record<string, unknown>>;

export interface Conversation {
  readonly messages: readonly Message[];
  /** JSON schemas of functions. */
  readonly tools?: readonly unknown[] | undefined;
}

/** A part of a text, in UTF-16 units. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

export interface Rendered {
  readonly text: string;
  /** The parts between `{% generation %}` and `{% endgeneration %}`, in their order. */
  readonly spans: readonly Span[];
}

export interface ChatTemplate {
  /** Whether the template marks what the assistant writes. */
  readonly marksTurns: boolean;
  /** Errors: CHAT_TEMPLATE with the template's own reason. */
  render(conversation: Conversation, addsGenerationPrompt?: boolean): Rendered;
  /**
   * The same with the spans of the assistant's turns, also for templates that do not mark them: by what each turn adds
   * to the text. Errors: CHAT_TEMPLATE where earlier turns change with later ones.
   */
  renderTurns(conversation: Conversation): Rendered;
}

/** `{% generation %}`: white space around it as jinja2 treats it with trim_blocks and lstrip_blocks. */
const generationTag = /(^[ \t]*)?\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}(\n)?/gm;

/** Private-use characters that stand for the tags while a template is rendered. */
const [opening, closing] = ['\u{F8F01}', '\u{F8F02}'];

/**
 * Compiles a template of transformers.
 * @param specials names of special tokens with their texts, such as `bos_token`.
 */
export async function compileChatTemplate(
  source: string,
  specials: Readonly<Record<string, string>>,
): Promise<ChatTemplate> {
  const { Template } = await import('@huggingface/jinja');
  const marksTurns = /\{%[-+]?\s*generation\s*[-+]?%\}/.test(source);
  const compiled = attempt('cannot be read', () => new Template(withStrips(marksTurns ? marked(source) : source)));
  const readsParts = /\[\s*['"]type['"]\s*\]|\.type\b/.test(source);
  const render = ({ messages, tools }: Conversation, addsGenerationPrompt = false): Rendered => {
    const parts = readsParts ? -1 : messages.findIndex(({ content }) => Array.isArray(content));
    // Without a loop over the parts, a template would write their source text.
    if (parts >= 0)
      throw chatTemplate(
        `turn ${parts + 1} has a list of parts for its content, which the chat template does not read`,
        'give the content of each turn as one text',
      );
    return spansOf(
      rendered(compiled, {
        ...specials,
        ...stripFunctions,
        messages: messages.map(withReasoning),
        tools: tools ?? null,
        documents: null,
        add_generation_prompt: addsGenerationPrompt,
      }),
    );
  };
  return {
    marksTurns,
    render,
    renderTurns(conversation) {
      const whole = render(conversation);
      return marksTurns ? whole : { text: whole.text, spans: turnSpans(conversation, whole.text, render) };
    },
  };
}

function attempt<T>(what: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw chatTemplate(`the chat template ${what}: ${error instanceof Error ? error.message : error}`);
  }
}

function rendered(template: Template, values: Record<string, unknown>): string {
  return attempt('refuses the conversation', () => template.render(values));
}

function marked(source: string): string {
  return source.replace(
    generationTag,
    (
      _,
      before: string | undefined,
      left: string,
      end: string | undefined,
      right: string,
      newline: string | undefined,
    ) => {
      const kept = left === '+' ? (before ?? '') : '';
      const open = left === '-' ? '{{-' : '{{';
      const close = right === '-' ? '-}}' : '}}';
      return `${kept}${open} "${end === undefined ? opening : closing}" ${close}${right === '+' ? (newline ?? '') : ''}`;
    },
  );
}

/** Removes the marks from a rendered text. */
function spansOf(text: string): Rendered {
  const spans: Span[] = [];
  let plain = '';
  let start = 0;
  for (const piece of text.split(new RegExp(`(${opening}|${closing})`, 'u'))) {
    if (piece === opening) start = plain.length;
    else if (piece === closing) spans.push({ start, end: plain.length });
    else plain += piece;
  }
  return { text: plain, spans: spans.filter(({ start: from, end }) => from < end) };
}

/** The names of what a model thought. */
const reasoningNames = ['reasoning_content', 'thinking', 'reasoning'] as const;

/** A message with its reasoning under the two names that templates read, as transformers passes it. */
function withReasoning(message: Message): Message {
  const found = reasoningNames.map((name) => message[name]).find((value) => value !== undefined && value !== null);
  return found === undefined ? message : { thinking: found, ...message, reasoning_content: found };
}

/** The text that each of the assistant's turns adds behind the prompt for it. Errors: CHAT_TEMPLATE. */
function turnSpans({ messages, tools }: Conversation, text: string, render: ChatTemplate['render']): Span[] {
  return messages.flatMap((message, i): Span[] => {
    if (message.role !== 'assistant') return [];
    const before = render({ messages: messages.slice(0, i), tools }, true).text;
    const through = i === messages.length - 1 ? text : render({ messages: messages.slice(0, i + 1), tools }).text;
    if (!text.startsWith(through) || !through.startsWith(before) || before.length === through.length)
      throw chatTemplate(
        `the chat template does not mark what the assistant writes, and turn ${i + 1} does not begin with the prompt for it or changes with later turns`,
        'use a template with {% generation %} and {% endgeneration %} around what the assistant writes, or leave out --assistant-only, so that all tokens count',
      );
    // White space behind the last token of a turn belongs to the template.
    const written = through.slice(before.length).trimEnd();
    return [{ start: before.length, end: before.length + written.length }];
  });
}
