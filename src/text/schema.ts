/** The parts of tokenizer.json and tokenizer_config.json that are read (huggingface/tokenizers, `Tokenizer.save`). */

import { z } from 'zod';

const pattern = z.union([z.object({ String: z.string() }), z.object({ Regex: z.string() })]);
export type Pattern = z.infer<typeof pattern>;

/** The use of the matches of a split. */
export const behaviors = ['Removed', 'Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous'] as const;
export type Behavior = (typeof behaviors)[number];
const behavior = z.enum(behaviors);

export type NormalizerConfig = { type: 'Sequence'; normalizers: NormalizerConfig[] } | z.infer<typeof plainNormalizer>;

const plainNormalizer = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('BertNormalizer'),
    clean_text: z.boolean().default(true),
    handle_chinese_chars: z.boolean().default(true),
    strip_accents: z.boolean().nullish(),
    lowercase: z.boolean().default(true),
  }),
  z.object({ type: z.literal('NFC') }),
  z.object({ type: z.literal('NFD') }),
  z.object({ type: z.literal('NFKC') }),
  z.object({ type: z.literal('NFKD') }),
  z.object({ type: z.literal('Lowercase') }),
  z.object({ type: z.literal('StripAccents') }),
  z.object({ type: z.literal('Strip'), strip_left: z.boolean(), strip_right: z.boolean() }),
  z.object({ type: z.literal('Prepend'), prepend: z.string() }),
  z.object({ type: z.literal('Replace'), pattern, content: z.string() }),
  z.object({ type: z.literal('Precompiled'), precompiled_charsmap: z.string().nullish() }),
]);

const normalizer: z.ZodType<NormalizerConfig> = z.lazy(() =>
  z.union([z.object({ type: z.literal('Sequence'), normalizers: z.array(normalizer) }), plainNormalizer]),
);

export type PreTokenizerConfig =
  | { type: 'Sequence'; pretokenizers: PreTokenizerConfig[] }
  | z.infer<typeof plainPreTokenizer>;

const plainPreTokenizer = z.discriminatedUnion('type', [
  z.object({ type: z.literal('BertPreTokenizer') }),
  z.object({ type: z.literal('Whitespace') }),
  z.object({ type: z.literal('WhitespaceSplit') }),
  z.object({
    type: z.literal('ByteLevel'),
    add_prefix_space: z.boolean().default(true),
    use_regex: z.boolean().default(true),
  }),
  z.object({
    type: z.literal('Metaspace'),
    replacement: z.string().default('▁'),
    prepend_scheme: z.enum(['always', 'first', 'never']).nullish(),
    add_prefix_space: z.boolean().nullish(),
    split: z.boolean().nullish(),
  }),
  z.object({ type: z.literal('Split'), pattern, behavior, invert: z.boolean().default(false) }),
  z.object({ type: z.literal('Punctuation'), behavior: behavior.default('Isolated') }),
  z.object({ type: z.literal('Digits'), individual_digits: z.boolean().default(false) }),
  z.object({ type: z.literal('CharDelimiterSplit'), delimiter: z.string() }),
  z.object({ type: z.literal('FixedLength'), length: z.number().int().positive() }),
]);

const preTokenizer: z.ZodType<PreTokenizerConfig> = z.lazy(() =>
  z.union([z.object({ type: z.literal('Sequence'), pretokenizers: z.array(preTokenizer) }), plainPreTokenizer]),
);

const piece = z.union([
  z.object({ SpecialToken: z.object({ id: z.string(), type_id: z.number() }) }),
  z.object({ Sequence: z.object({ id: z.enum(['A', 'B']), type_id: z.number() }) }),
]);
export type TemplatePiece = z.infer<typeof piece>;
const named = z.tuple([z.string(), z.number()]);

export type PostProcessorConfig =
  | { type: 'Sequence'; processors: PostProcessorConfig[] }
  | z.infer<typeof plainPostProcessor>;

const plainPostProcessor = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('TemplateProcessing'),
    single: z.array(piece),
    pair: z.array(piece),
    special_tokens: z.record(z.string(), z.object({ ids: z.array(z.number()) })),
  }),
  z.object({ type: z.literal('BertProcessing'), sep: named, cls: named }),
  z.object({
    type: z.literal('RobertaProcessing'),
    sep: named,
    cls: named,
    trim_offsets: z.boolean().default(true),
  }),
  z.object({ type: z.literal('ByteLevel'), trim_offsets: z.boolean().default(true) }),
]);

const postProcessor: z.ZodType<PostProcessorConfig> = z.lazy(() =>
  z.union([z.object({ type: z.literal('Sequence'), processors: z.array(postProcessor) }), plainPostProcessor]),
);

const vocabulary = z.record(z.string(), z.number());

const model = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('BPE'),
    vocab: vocabulary,
    merges: z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])),
    unk_token: z.string().nullish(),
    continuing_subword_prefix: z.string().nullish(),
    end_of_word_suffix: z.string().nullish(),
    dropout: z.number().nullish(),
    fuse_unk: z.boolean().nullish(),
    byte_fallback: z.boolean().nullish(),
    ignore_merges: z.boolean().nullish(),
  }),
  z.object({
    type: z.literal('WordPiece'),
    vocab: vocabulary,
    unk_token: z.string(),
    continuing_subword_prefix: z.string(),
    max_input_chars_per_word: z.number(),
  }),
  z.object({ type: z.literal('WordLevel'), vocab: vocabulary, unk_token: z.string() }),
  z.object({
    type: z.literal('Unigram'),
    vocab: z.array(z.tuple([z.string(), z.number()])),
    unk_id: z.number().nullish(),
    byte_fallback: z.boolean().nullish(),
  }),
]);
export type ModelConfig = z.infer<typeof model>;

/** Files before 2020 lack the type of the model. */
const typedModel = z.preprocess((given) => {
  if (typeof given !== 'object' || given === null || 'type' in given) return given;
  const has = (name: string): boolean => Object.hasOwn(given, name);
  const type = has('merges')
    ? 'BPE'
    : has('unk_id')
      ? 'Unigram'
      : has('continuing_subword_prefix')
        ? 'WordPiece'
        : 'WordLevel';
  return { ...given, type };
}, model);

export const tokenizerFile = z.object({
  added_tokens: z
    .array(
      z.object({
        id: z.number().int().nonnegative(),
        content: z.string(),
        single_word: z.boolean().default(false),
        lstrip: z.boolean().default(false),
        rstrip: z.boolean().default(false),
        normalized: z.boolean().default(true),
        special: z.boolean().default(false),
      }),
    )
    .default([]),
  normalizer: normalizer.nullish(),
  pre_tokenizer: preTokenizer.nullish(),
  post_processor: postProcessor.nullish(),
  decoder: z.looseObject({ type: z.string() }).nullish(),
  model: typedModel,
});
export type TokenizerFile = z.infer<typeof tokenizerFile>;

/** A token by its text, or an AddedToken written out. */
const token = z.union([z.string(), z.object({ content: z.string() }).transform(({ content }) => content)]).nullish();

export const tokenizerConfig = z.looseObject({
  model_max_length: z.number().nullish(),
  padding_side: z.enum(['left', 'right']).nullish(),
  truncation_side: z.enum(['left', 'right']).nullish(),
  bos_token: token,
  eos_token: token,
  pad_token: token,
  unk_token: token,
  cls_token: token,
  sep_token: token,
  mask_token: token,
  add_bos_token: z.boolean().nullish(),
  add_eos_token: z.boolean().nullish(),
});
export type TokenizerConfig = z.infer<typeof tokenizerConfig>;
