/**
 * Module names of onnxruntime-genai's model builder. It has one name for the attention of all models, `attn`, and one
 * for the output projection; transformers, whose names PEFT uses, has others, which depend on the family.
 */
import { familyOf, rootOf } from '../../graph/families/families.ts';
import type { Model, Node } from '../../graph/model.ts';

/** Names of modules. */
export interface Modules {
  has(path: string): boolean;
}

/** The names inside `model.layers.N` that families have for one of the builder, beside the usual one. */
const others: Readonly<Record<string, readonly string[]>> = {
  'attn.o_proj': ['self_attn.dense', 'self_attn.out_proj'],
  'mlp.gate_proj': ['feed_forward.w1'],
  'mlp.up_proj': ['feed_forward.w3'],
  'mlp.down_proj': ['feed_forward.w2'],
};
const usual = (name: string): string => name.replace(/^attn\./, 'self_attn.').replace(/^moe\./, 'mlp.');

export interface BuilderNames {
  /** The module's path: that of `known` if it has one of the possible ones, else the family's. */
  path(of: string): string;
  /** Whether the parts of a packed module, not the module itself, are those of PEFT's model. */
  unpacks(path: string): boolean;
}

/** Undefined for the file of another exporter. @param type model_type of the config.json. */
export function builderNames(model: Model, known: Modules, type?: string): BuilderNames | undefined {
  if (!model.producerName.startsWith('onnxruntime-genai') && !model.graph.nodes.some(isAttention)) return undefined;
  const family = familyOf(type);
  const isOwn = (path: string): boolean => family !== undefined && rootOf(family, path) !== undefined;
  return {
    unpacks: (path) => !isOwn(path),
    path: (of) => {
      const [, holder = '', name] = /^(.*\blayers\.\d+\.)((?:attn|mlp|moe)\.\w+)$/.exec(of) ?? [];
      if (name === undefined) return of;
      const possible = [usual(name), ...(others[name] ?? []), name].map((n) => holder + n);
      return possible.find((path) => known.has(path)) ?? possible.find(isOwn) ?? possible[0] ?? of;
    },
  };
}

const isAttention = ({ name, op, domain }: Node): boolean =>
  domain === 'com.microsoft' && /^\/model\/layers\.\d+\/attn\/(\w+)$/.exec(name)?.[1] === op;
