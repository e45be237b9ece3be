/**
 * Decides by data dependence whether a token's logits depend on later tokens: the masks of every attention between the
 * tokens and the logits are evaluated for a short row.
 */
import { ancestorsOf } from '../../../graph/ancestors.ts';
import type { Graph, Value } from '../../../graph/model.ts';
import { isMaskName, isPositionName, isTypeName } from '../../normalize/bind/names.ts';
import { dependentsOf, type Mixer, mixersBefore } from './mixers.ts';
import { Probe } from './probe.ts';

export interface Causality {
  /** undefined: it could not be decided. */
  readonly causal: boolean | undefined;
  /** The reason, for the user. */
  readonly why: string;
  /** The input, such as the states of an encoder, that attention reads in addition to the tokens. */
  readonly crossed: string | undefined;
}

const beside = (name: string): boolean => isMaskName(name) || isPositionName(name) || isTypeName(name);

/** The shapes of the graph must have been inferred. */
export function causalityOf(graph: Graph, tokens: Value, logits: Value): Causality {
  const others = graph.inputs.filter((v) => v !== tokens && v.tensor === undefined && !beside(v.name));
  const states = dependentsOf(graph, [tokens]);
  const probe = new Probe(graph, tokens, states, logits.shape?.[1]);
  const s = { probe, tokens: states, others: dependentsOf(graph, others) };
  const mixers = mixersBefore(graph, logits, s);
  const crossing = mixers.find((m) => m.way === 'crossed');
  const crossed = crossing === undefined ? undefined : sourceOf(others, crossing);
  return { ...verdict(mixers.filter((m) => m.way !== 'crossed')), crossed };
}

function verdict(mixers: readonly Mixer[]): Omit<Causality, 'crossed'> {
  const named = ({ node }: Mixer): string => `${node.op} "${node.label}"`;
  const ahead = mixers.find((m) => m.way === 'bidirectional');
  if (ahead !== undefined) return { causal: false, why: `${named(ahead)} reads later tokens` };
  const open = mixers.find((m) => m.way === undefined && m.attention);
  if (open !== undefined) return { causal: undefined, why: `the mask of ${named(open)} could not be evaluated` };
  const attention = mixers.find((m) => m.way === 'causal' && m.attention);
  if (attention !== undefined) return { causal: true, why: `the mask of ${named(attention)} hides later tokens` };
  const hint = mixers.find((m) => m.way === 'causal');
  if (hint !== undefined) return { causal: true, why: `${named(hint)} reads earlier tokens only` };
  return { causal: undefined, why: 'no attention over the tokens was recognized' };
}

/** The input that a cross-attention reads in addition to the tokens. */
function sourceOf(inputs: readonly Value[], { node }: Mixer): string | undefined {
  const behind = ancestorsOf(node.inputs.filter((v) => v !== undefined));
  return inputs.find((v) => behind.has(v))?.name;
}
