/** Reads a tokenizer from Hugging Face's files. */

import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { badTokenizer, fileNotFound } from '../errors.ts';
import { reasonOf } from '../formats/files.ts';
import { type ChatTemplate, compileChatTemplate } from './chatTemplate.ts';
import { tokenizersLibrary } from './library.ts';
import { tokenizerConfig, tokenizerFile } from './schema.ts';
import { type TextTokenizer, tokenizerOf } from './tokenizer.ts';

/** The file that a folder with a tokenizer has. */
export const tokenizerName = 'tokenizer.json';

/** The files of a tokenizer that a package keeps; all but the first may be absent. */
export const tokenizerFiles = [
  tokenizerName,
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.jinja',
] as const;

/** A larger file is not a tokenizer. */
const mostBytes = 2 ** 28;

/** Loads the tokenizer of a folder. Errors: FILE_NOT_FOUND, BAD_TOKENIZER, which names the part. */
export async function loadTokenizer(folder: string): Promise<TextTokenizer> {
  const file = join(folder, tokenizerName);
  const json = parsed(tokenizerFile, readJson(file), file);
  const special = specialTokens(join(folder, 'special_tokens_map.json'));
  const configFile = join(folder, 'tokenizer_config.json');
  const own = readOptional(configFile);
  const config = parsed(tokenizerConfig, { ...special, ...withoutNull(own) }, configFile);
  const library = await tokenizersLibrary();
  try {
    return tokenizerOf(json, config, library);
  } catch (error) {
    throw badTokenizer(error instanceof Error ? error.message : String(error), file);
  }
}

/**
 * The chat templates of a folder, compiled; undefined if there are none. Errors: BAD_TOKENIZER, CHAT_TEMPLATE for one
 * that cannot be read.
 */
export async function loadChatTemplates(
  folder: string,
  { specials }: TextTokenizer,
): Promise<ChatTemplates | undefined> {
  const file = join(folder, 'chat_template.jinja');
  const configFile = join(folder, 'tokenizer_config.json');
  const config = parsed(templateConfig, readOptional(configFile) ?? {}, configFile);
  const given = statSync(file, { throwIfNoEntry: false }) === undefined ? config.chat_template : readText(file);
  if (given === undefined || given === null) return undefined;
  const named = typeof given === 'string' ? [{ name: 'default', template: given }] : given;
  const compiled = new Map<string, ChatTemplate>();
  for (const { name, template } of named) compiled.set(name, await compileChatTemplate(template, specials));
  const usual = compiled.get('default');
  return usual && { usual, withTools: compiled.get('tool_use') ?? usual };
}

/** The template for conversations, and the one for those with tools. */
export interface ChatTemplates {
  readonly usual: ChatTemplate;
  readonly withTools: ChatTemplate;
}

const templateConfig = z.looseObject({
  chat_template: z.union([z.string(), z.array(z.object({ name: z.string(), template: z.string() }))]).nullish(),
});

/** Entries of older files; those of tokenizer_config.json replace them. */
function specialTokens(file: string): object {
  const given = readOptional(file);
  return typeof given === 'object' && given !== null ? given : {};
}

function withoutNull(value: unknown): object {
  if (typeof value !== 'object' || value === null) return {};
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== null));
}

function readOptional(file: string): unknown {
  return statSync(file, { throwIfNoEntry: false }) === undefined ? undefined : readJson(file);
}

function readText(file: string): string {
  try {
    const { size } = statSync(file);
    if (size > mostBytes) throw badTokenizer(`it has ${size} bytes`, file);
    return new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(file));
  } catch (error) {
    if (error instanceof TypeError) throw badTokenizer('it is not UTF-8', file);
    if (error instanceof Error && 'syscall' in error) throw fileNotFound(file, reasonOf(error));
    throw error;
  }
}

function readJson(file: string): unknown {
  const text = readText(file);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw badTokenizer(`it is not JSON (${error instanceof Error ? error.message : error})`, file);
  }
}

function parsed<T>(schema: z.ZodType<T>, json: unknown, file: string): T {
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const place = issue?.path.map(String).join('.') ?? '';
  throw badTokenizer(`${place === '' ? 'the file' : `"${place}"`}: ${issue?.message ?? 'not as expected'}`, file);
}
