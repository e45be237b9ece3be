/** The facts about a source that the choice of a head depends on: types and shapes, the tokens and their mask. */
import { cloneModel } from '../../graph/clone.ts';
import type { Graph, Model, Value } from '../../graph/model.ts';
import type { DataType } from '../../graph/tensor.ts';
import { causalityOf } from '../loss/causality/causality.ts';
import { tokensOf } from '../normalize/bind/ground.ts';
import { cachesAmong } from '../normalize/bind/isCache.ts';
import { isMaskName, ofAnotherPart } from '../normalize/bind/names.ts';
import { normalize } from '../normalize/index.ts';
import { inferShapes } from '../shapes/index.ts';

export interface SourceFacts {
  /** A normalized copy of the source with inferred shapes. */
  readonly graph: Graph;
  readonly tokens: Value | undefined;
  /** The source has a key/value cache. */
  readonly cached: boolean;
  /** A value of the source as the copy has it. */
  of(value: Value): Value;
}

/** @param values the values of the source that the facts are wanted of. */
export function factsOf(source: Model, values: readonly Value[]): SourceFacts {
  const { model, map } = cloneModel(source);
  const at = new Map<Value, number>();
  for (const value of new Set(values)) {
    const copy = map.values.get(value);
    // Folding removes values, but keeps outputs.
    if (copy !== undefined) at.set(value, model.graph.outputs.push(copy) - 1);
  }
  normalize(model);
  inferShapes(model.graph);
  const { graph } = model;
  const of = (value: Value): Value => {
    const found = graph.outputs[at.get(value) ?? -1];
    return found?.shape === undefined ? value : found;
  };
  return { graph, tokens: tokensOf(graph.inputs), cached: cachesAmong(graph.inputs, graph).length > 0, of };
}

/** The element type: float32 if it is not known. */
export const typeOf = (facts: SourceFacts, value: Value): DataType => facts.of(value).dtype ?? value.dtype ?? 'float32';

/** Whether a token depends on earlier ones only, with the reason for the user; undefined: it could not be decided. */
export function isDecoder(
  facts: SourceFacts,
  states: Value,
): { readonly is: boolean; readonly why: string } | undefined {
  const { graph, tokens, cached } = facts;
  if (cached) return { is: true, why: 'the model has a key/value cache' };
  const value = facts.of(states);
  if (tokens === undefined || value.producer === undefined) return undefined;
  const { causal, why } = causalityOf(graph, tokens, value);
  return causal === undefined ? undefined : { is: causal, why };
}

/** The mask of the positions that the states have. */
export interface StatesMask {
  readonly name: string;
  /** It also has the positions of a cache. */
  readonly cached: boolean;
}

/** undefined if no input tells padding; a sentence if there is a mask of other positions only. */
export function maskOf(facts: SourceFacts, states: Value): StatesMask | string | undefined {
  const { graph, tokens, cached } = facts;
  const masks = graph.inputs.filter((v) => isMaskName(v.name) && v.shape?.length === 2 && !ofAnotherPart(v.name));
  const length = facts.of(states).shape?.[1];
  const same = masks.find((v) => length !== undefined && length !== null && v.shape?.[1] === length);
  if (same !== undefined) return { name: same.name, cached: false };
  const [first] = masks;
  if (first === undefined) return undefined;
  const open = length === undefined || length === null;
  if (tokens !== undefined && (open || length === tokens.shape?.[1])) return { name: first.name, cached };
  return `"${first.name}" has other positions than "${states.name}"`;
}
