/**
 * Module names of onnxruntime-genai's model builder. It has one name for the attention of all models, `attn`, and one
 * for the output projection; transformers, whose names PEFT uses, has others, which depend on the family.
 */
import type { Model, Node } from '../../graph/model.ts';

/** Names of modules. */
export interface Modules {
  has(path: string): boolean;
}

/** The name inside `model.layers.N`, as PEFT's model has it; by family, where it differs from `usual`. */
const families: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  phi: { 'attn.o_proj': 'self_attn.dense' },
  lfm2: {
    'attn.o_proj': 'self_attn.out_proj',
    'mlp.gate_proj': 'feed_forward.w1',
    'mlp.up_proj': 'feed_forward.w3',
    'mlp.down_proj': 'feed_forward.w2',
  },
};
const usual = (name: string): string => name.replace(/^attn\./, 'self_attn.').replace(/^moe\./, 'mlp.');

/** Families whose own modules are packed: the builder's `qkv_proj` is one module of theirs. */
const packs = new Set(['phi3', 'phi3v', 'phi4mm', 'phi4_multimodal', 'phimm']);

export interface BuilderNames {
  /** The module's path: that of `known` if it has one of the possible ones, else the family's. */
  path(of: string): string;
  /** Whether q, k and v of a packed module are modules in PEFT's model. */
  readonly unpacks: boolean;
}

/** Undefined for the file of another exporter. @param family model_type of the config.json. */
export function builderNames(model: Model, known: Modules, family = ''): BuilderNames | undefined {
  if (!model.producerName.startsWith('onnxruntime-genai') && !model.graph.nodes.some(isAttention)) return undefined;
  return {
    unpacks: !packs.has(family),
    path: (of) => {
      const [, holder = '', name] = /^(.*\blayers\.\d+\.)((?:attn|mlp|moe)\.\w+)$/.exec(of) ?? [];
      if (name === undefined) return of;
      const others = Object.values(families).flatMap((names) => names[name] ?? []);
      const possible = [families[family]?.[name] ?? usual(name), usual(name), ...others, name].map((n) => holder + n);
      return possible.find((path) => known.has(path)) ?? possible[0] ?? of;
    },
  };
}

const isAttention = ({ name, op, domain }: Node): boolean =>
  domain === 'com.microsoft' && /^\/model\/layers\.\d+\/attn\/(\w+)$/.exec(name)?.[1] === op;
