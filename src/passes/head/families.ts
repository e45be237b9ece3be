/**
 * The heads of transformers' `AutoModelFor…` classes, by the family of the model (`model_type` of its config.json;
 * transformers/models/<family>/modeling_<family>.py).
 */

export interface HeadFamily {
  /** The path of the body in a class with a head. */
  readonly prefix: string;
  /** A decoder: a token depends on earlier ones only. Its class for rows has the Linear `score`, others `classifier`. */
  readonly decoder?: true;
  /** It takes images. */
  readonly images?: true;
  /** The part of the class for rows before its last Linear, where that does not read pooled states. */
  readonly row?: string;
  /** The same for the class for tokens; or the name of its Linear, where that is not the one for rows. */
  readonly token?: { readonly before: string } | { readonly path: string };
}

const encoder = (prefix: string, row: string): HeadFamily => ({ prefix, row });
const decoder = (prefix: string): HeadFamily => ({ prefix, decoder: true });
const pooler = 'a pooler (a dense layer and tanh)';
const dense = 'a dense layer and tanh';
const ofLlama = 'llama mistral qwen2 qwen3 gemma gemma2 phi phi3 olmo2 opt smollm3'.split(' ');

const rows: Readonly<Record<string, HeadFamily>> = {
  bert: encoder('bert', pooler),
  roberta: encoder('roberta', dense),
  'xlm-roberta': encoder('roberta', dense),
  camembert: encoder('roberta', dense),
  electra: encoder('electra', 'a dense layer and GELU'),
  distilbert: encoder('distilbert', 'a dense layer and ReLU (pre_classifier)'),
  albert: encoder('albert', pooler),
  mpnet: encoder('mpnet', dense),
  'deberta-v2': encoder('deberta', 'a pooler (a dense layer and GELU)'),
  modernbert: {
    ...encoder('model', 'a dense layer, GELU and a norm (head)'),
    token: { before: 'a dense layer, GELU and a norm (head)' },
  },
  ...Object.fromEntries(ofLlama.map((name) => [name, decoder('model')])),
  gpt2: { ...decoder('transformer'), token: { path: 'classifier' } },
  gpt_neo: { ...decoder('transformer'), token: { path: 'classifier' } },
  gpt_neox: { ...decoder('gpt_neox'), token: { path: 'classifier' } },
  bloom: { ...decoder('transformer'), token: { path: 'classifier' } },
  falcon: { ...decoder('transformer'), token: { path: 'classifier' } },
  vit: { prefix: 'vit', images: true },
};

/** undefined for a family that the table does not have. */
export const headFamily = (name: string | undefined): HeadFamily | undefined =>
  name !== undefined && Object.hasOwn(rows, name) ? rows[name] : undefined;
