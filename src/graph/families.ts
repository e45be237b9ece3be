/**
 * The heads of transformers' `AutoModelFor…` classes, by the family of the model (`model_type` of its config.json;
 * transformers/models/<family>/modeling_<family>.py).
 */

export interface HeadFamily {
  /** The path of the body in the class with a head. */
  readonly prefix: string;
  /** A decoder: a token depends on earlier ones only. */
  readonly decoder?: true;
  /** The pooling of the class for sequences or images, where it is not `cls`, or `last` for a decoder. */
  readonly pooling?: 'mean';
  /**
   * The module of the Linear in the class for sequences or images; absent: `classifier`, or `score` for a decoder. A
   * sentence, if its head is not one Linear on the pooled states.
   */
  readonly row?: { readonly path: string } | { readonly other: string };
  /** The same for the class for tokens. */
  readonly token?: { readonly path: string } | { readonly other: string };
}

const twoLayers = 'a dense layer and tanh before the last Linear';
const pooler = 'a pooler (a dense layer and tanh) before the Linear';
const encoder = (prefix: string, other: string): HeadFamily => ({ prefix, row: { other } });
const decoder = (prefix: string, token?: HeadFamily['token']): HeadFamily => ({
  prefix,
  decoder: true,
  ...(token === undefined ? {} : { token }),
});
const likeLlama = decoder('model');

const rows: Readonly<Record<string, HeadFamily>> = {
  bert: encoder('bert', pooler),
  roberta: encoder('roberta', twoLayers),
  'xlm-roberta': encoder('roberta', twoLayers),
  camembert: encoder('roberta', twoLayers),
  electra: encoder('electra', 'a dense layer and GELU before the last Linear'),
  distilbert: encoder('distilbert', 'a dense layer and ReLU (pre_classifier) before the last Linear'),
  albert: encoder('albert', pooler),
  mpnet: encoder('mpnet', twoLayers),
  'deberta-v2': encoder('deberta', 'a pooler (a dense layer and GELU) before the Linear'),
  modernbert: {
    prefix: 'model',
    row: { other: 'a dense layer, GELU and a norm (head) before the last Linear' },
    token: { other: 'a dense layer, GELU and a norm (head) before the Linear' },
  },
  gpt2: decoder('transformer', { path: 'classifier' }),
  llama: likeLlama,
  mistral: likeLlama,
  qwen2: likeLlama,
  qwen3: likeLlama,
  gemma: likeLlama,
  gemma2: likeLlama,
  phi3: likeLlama,
  vit: { prefix: 'vit' },
};

/** undefined for a family that the table does not have. */
export const headFamily = (name: string | undefined): HeadFamily | undefined =>
  name !== undefined && Object.hasOwn(rows, name) ? rows[name] : undefined;
