/**
 * Logits of tokens: whether [batch, tokens, classes] are the scores of a language model, and what its labels are. The
 * classes of a language model are the rows of its table of tokens; its kind is a matter of what its attention reads.
 */
import type { Dim, Graph, Node, Value } from '../../graph/model.ts';
import { attrsOf, opKey } from '../../graph/operators.ts';
import { isFloat } from '../../graph/tensor.ts';
import { tokensOf } from '../normalize/bind/ground.ts';
import { wordsOf } from '../normalize/bind/names.ts';
import { type Causality, causalityOf } from './causality/causality.ts';
import { axesMerged, separated } from './flattened.ts';

/**
 * The labels of a language model: `tokens`, its own, which the loss shifts; `next`, the tokens that follow, shifted in
 * the data; `masked`, the tokens at hidden positions alone; `classes`: it may be no language model.
 */
export type TokenLabels = 'tokens' | 'next' | 'masked' | 'classes';

export interface SequenceLoss {
  /** The input with the tokens. */
  readonly tokens: string;
  readonly labels: TokenLabels;
  /** The reason, for the user. */
  readonly why: string;
  /** A doubt about it. */
  readonly warning?: string | undefined;
}

/** A model without caches whose embeddings are computed outside is a language model from this number of classes on. */
const manyClasses = 1000;

/**
 * undefined: classes of each token, or no tokens at all. `cached`: the model has a key/value cache. The shapes must
 * have been inferred.
 */
export function sequenceLoss(graph: Graph, logits: Value, cached: boolean): SequenceLoss | undefined {
  const shape = separated(logits.shape ?? [], axesMerged(logits));
  const [, length, classes] = shape;
  const tokens = tokenInput(graph, length);
  if (shape.length !== 3 || tokens === undefined) return undefined;
  const table = tableOf(tokens, classes);
  if (table === undefined && tokens.dtype !== undefined && !isFloat(tokens.dtype) && !cached) return undefined;
  const causality = causalityOf(graph, tokens, logits);
  const rows =
    table === undefined ? 'one row per token' : `one row per token and as many columns as "${table}" has rows`;
  if (table === undefined && !cached && !isMany(classes))
    return causality.causal === true ? ofClasses(tokens) : undefined;
  return labelled(graph, tokens, cached ? { ...causality, ...withCache(causality) } : causality, rows);
}

const ofClasses = ({ name }: Value): SequenceLoss => ({
  tokens: name,
  labels: 'classes',
  why: 'has one row per token, and no table of tokens shows that its columns are tokens',
  warning: `labels are a class of each element of "${name}"; for a language model choose --loss causal-lm`,
});

const isMany = (classes: Dim | undefined): boolean => typeof classes !== 'number' || classes >= manyClasses;

/** A cache of keys and values is of use only where a token does not depend on later ones. */
const withCache = ({ causal, why }: Causality): Pick<Causality, 'causal' | 'why'> => ({
  causal: true,
  why: causal === true ? why : 'the model has a key/value cache',
});

function labelled(graph: Graph, tokens: Value, { causal, why, crossed }: Causality, rows: string): SequenceLoss {
  const { name } = tokens;
  if (causal === false)
    return { tokens: name, labels: 'masked', why: `has ${rows}, and ${why}: a masked language model, without a shift` };
  const encoder = encoderOf(graph, name, crossed);
  if (encoder !== undefined)
    return {
      tokens: name,
      labels: 'next',
      why: `has ${rows}, and the decoder also reads "${encoder}": labels are shifted already, as in transformers`,
    };
  if (causal === true)
    return { tokens: name, labels: 'tokens', why: `has ${rows}, and ${why}: each predicts the next` };
  const doubt = `whether a token depends on later ones could not be decided (${why}): if `;
  // The usual name of a language model's tokens is a hint at most.
  return name === 'input_ids'
    ? {
        tokens: name,
        labels: 'tokens',
        why: `has ${rows}`,
        warning: `${doubt}it does, as in a masked language model, or labels are shifted already, choose --loss cross-entropy`,
      }
    : {
        tokens: name,
        labels: 'classes',
        why: `has ${rows}`,
        warning: `${doubt}it does not, as in a language model that predicts the next token, choose --loss causal-lm`,
      };
}

/** The input from an encoder that a decoder reads, if its labels are shifted in the data. */
function encoderOf(graph: Graph, tokens: string, crossed: string | undefined): string | undefined {
  const named = graph.inputs.find((v) => {
    const words = wordsOf(v.name);
    return words.includes('encoder') && !words.includes('mask');
  })?.name;
  if (named !== undefined) return named;
  const decoder = wordsOf(tokens).includes('decoder');
  // A decoder with cross-attention to an image has the labels of a language model unless its tokens are a decoder's.
  const image = crossed !== undefined && (graph.inputs.find((v) => v.name === crossed)?.shape?.length ?? 0) > 3;
  if (crossed !== undefined && (decoder || !image)) return crossed;
  const other = graph.inputs.find((v) => v.name !== tokens && !wordsOf(v.name).includes('mask'))?.name;
  return decoder ? other : undefined;
}

/** The input with one token, or the embedding of one, for each row of the logits. */
function tokenInput(graph: Graph, length: Dim | undefined): Value | undefined {
  const isAligned = (v: Value): boolean => v.tensor === undefined && isLength(v.shape?.[1], length);
  const named = tokensOf(graph.inputs.filter(isAligned));
  if (named !== undefined) return named;
  return graph.inputs.find(
    (v) =>
      isAligned(v) && v.shape?.length === 2 && v.dtype !== undefined && !isFloat(v.dtype) && tablesRead(v).length > 0,
  );
}

/** A graph that was traced for one length may declare the input as open. Logits of one token are those of the last. */
const isLength = (own: Dim | undefined, steps: Dim | undefined): boolean =>
  own === steps || (typeof own !== 'number' && typeof steps === 'number' && steps > 1);

/** The table of tokens whose rows are the classes. */
function tableOf(tokens: Value, classes: Dim | undefined): string | undefined {
  const hit = tablesRead(tokens).find(({ rows }) => typeof rows === 'number' && isSize(rows, classes));
  return hit === undefined ? undefined : stored(hit.table).name;
}

/** A table may have rows that are not classes: it is padded, or has tokens that are never predicted. */
const isSize = (rows: number, classes: Dim | undefined): boolean =>
  typeof classes === 'number' && classes <= rows && classes >= rows * 0.9;

interface Table {
  readonly table: Value;
  readonly rows: Dim | undefined;
}

/** The tables that tokens select rows of, also after operators that keep them tokens. */
function tablesRead(tokens: Value): Table[] {
  const found: Table[] = [];
  const seen = new Set<Value>();
  const todo = [tokens];
  for (let v = todo.pop(); v !== undefined; v = todo.pop()) {
    if (seen.has(v)) continue;
    seen.add(v);
    for (const { node } of v.uses) {
      const table = tableIn(node, v);
      if (table !== undefined) found.push(table);
      else for (const o of node.outputs) if (o.dtype === v.dtype || node.op === 'Cast') todo.push(o);
    }
  }
  return found;
}

function tableIn(node: Node, indices: Value): Table | undefined {
  const key = opKey(node);
  const [first, second, third] = node.inputs;
  if (key === 'Gather' && second === indices && first !== undefined && attrsOf(node, 'Gather').axis === 0)
    return { table: first, rows: first.shape?.[0] };
  // The rows of a table in blocks are packed along their width.
  if (key === 'com.microsoft.GatherBlockQuantized' && second === indices && first !== undefined)
    return { table: first, rows: first.shape?.[0] };
  if (key === 'com.microsoft.EmbedLayerNormalization' && first === indices && third !== undefined)
    return { table: third, rows: third.shape?.[0] };
  return undefined;
}

/** The stored tensor behind operators that change its form. */
function stored(table: Value): Value {
  let at = table;
  for (let v: Value | undefined = at; v !== undefined; v = v.producer?.inputs[0]) at = v;
  return at;
}
