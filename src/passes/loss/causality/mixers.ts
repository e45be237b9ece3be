/**
 * Operators that combine tokens of a row, and whether a token gets anything from later ones: attention in plain and in
 * fused operators, recurrent layers, convolutions over the tokens and cumulative sums.
 */
import { ancestorsOf } from '../../../graph/ancestors.ts';
import { capturedBy, type Graph, type Node, type Value } from '../../../graph/model.ts';
import { attrsOf, opKey } from '../../../graph/operators.ts';
import { isFloat } from '../../../graph/tensor.ts';
import { listOf, maskedBelow, type Partly } from './partly.ts';
import type { Probe } from './probe.ts';

/**
 * `causal`: each token gets only itself and earlier ones. `crossed`: it gets what another input of the model has, such
 * as the states of an encoder. undefined: the operator combines tokens in a way that is not recognized.
 */
export type Way = 'causal' | 'bidirectional' | 'crossed' | undefined;

export interface Mixer {
  readonly node: Node;
  readonly way: Way;
  /** Attention, and not an operator whose direction is only a hint. */
  readonly attention: boolean;
}

/** The values that are computed from elements of the given ones, not only from their shapes. */
export function dependentsOf(graph: Graph, starts: Iterable<Value>): ReadonlySet<Value> {
  const found = new Set(starts);
  for (const node of graph.nodes) {
    if (node.op === 'Shape' || node.op === 'Size') continue;
    const reads = [...node.inputs, ...capturedBy(node)];
    if (reads.some((v) => v !== undefined && found.has(v))) for (const o of node.outputs) found.add(o);
  }
  return found;
}

export interface Sources {
  readonly probe: Probe;
  /** The values that depend on the tokens. */
  readonly tokens: ReadonlySet<Value>;
  /** Those that depend on other inputs than the tokens, their mask and their positions. */
  readonly others: ReadonlySet<Value>;
}

type Recognizer = (node: Node, s: Sources) => Way | 'none';

const depends = (v: Value | undefined, s: Sources): boolean => v !== undefined && s.tokens.has(v);

/** Keys that do not depend on the tokens are those of another part of the model, or weights. */
function ofKeys(query: Value | undefined, keys: readonly (Value | undefined)[], s: Sources): Way | 'none' | 'own' {
  if (!depends(query, s)) return 'none';
  if (keys.some((k) => depends(k, s))) return 'own';
  return keys.some((k) => k !== undefined && s.others.has(k)) ? 'crossed' : 'none';
}

/** Products of the scores are looked for behind these operators. */
const between = new Set(
  'Add Sub Mul Div Where Cast Reshape Transpose Max Min Clip Identity Tanh Unsqueeze Squeeze Expand Concat'.split(' '),
);

function productBehind(scores: Value, s: Sources): Node | undefined {
  const todo: Value[] = [scores];
  const seen = new Set<Value>();
  for (let v = todo.shift(); v !== undefined; v = todo.shift()) {
    const node = v.producer;
    if (node === undefined || seen.has(v) || !s.tokens.has(v)) continue;
    seen.add(v);
    if (['MatMul', 'Einsum', 'com.microsoft.FusedMatMul'].includes(opKey(node))) return node;
    if (between.has(node.op))
      for (const x of node.inputs) if (x?.dtype === undefined || isFloat(x.dtype)) todo.push(...(x ? [x] : []));
  }
  return undefined;
}

/** Whether a row of scores [..., tokens, tokens] has weight on a later token; undefined if that is not known. */
export function looksAhead(scores: Partly | undefined, length: number): boolean | undefined {
  const [rows, columns] = scores?.dims.slice(-2) ?? [];
  if (scores === undefined || rows === undefined || columns === undefined || length < 2) return undefined;
  // Broadcast over the queries: every token sees the same ones. More columns than tokens are sinks behind them.
  if ((rows !== length && rows !== 1) || (columns !== length && columns !== length + 1)) return undefined;
  const [storedRows = 1, storedColumns = 1] = scores.stored.slice(-2);
  const lead = scores.values.length / (storedRows * storedColumns);
  for (let n = 0; n < lead; n++)
    for (let i = 0; i < length; i++)
      for (let j = i + 1; j < length; j++) {
        const at = (n * storedRows + (storedRows === 1 ? 0 : i)) * storedColumns + (storedColumns === 1 ? 0 : j);
        if (!((scores.values[at] ?? Number.NaN) <= maskedBelow)) return true;
      }
  return false;
}

/** @param isDoubtful an operator of the mask was not evaluated, so a score that seems to count may be hidden. */
const wayOf = (ahead: boolean | undefined, isDoubtful: boolean): Way =>
  ahead === undefined || (ahead && isDoubtful) ? undefined : ahead ? 'bidirectional' : 'causal';

const softmax: Recognizer = (node, s) => {
  const [scores, bias] = node.inputs;
  if (scores === undefined || !s.tokens.has(scores)) return 'none';
  const product = productBehind(scores, s);
  if (product === undefined) return 'none';
  const [query, ...keys] = product.inputs;
  const found = ofKeys(query, keys, s);
  if (found !== 'own') return found;
  // Scores on experts or classes have no axis of tokens as their last one.
  const dims = s.probe.dims(scores);
  const { length } = s.probe;
  if (dims !== undefined && dims.at(-1) !== length && dims.at(-1) !== length + 1) return undefined;
  const added = bias === undefined ? undefined : s.probe.at(bias);
  return wayOf(looksAhead(added ?? s.probe.at(scores), length), s.probe.isDoubtful(bias ?? scores));
};

/** The way of a mask: floats are added to scores, other types mark those that count. Without one, nothing is hidden. */
function masked(masks: readonly (Value | undefined)[], s: Sources): Way {
  const given = masks.filter((m) => m !== undefined);
  const ways = given.map((m) => {
    const found = s.probe.at(m);
    // A mask that tells which tokens count has 1 for those, and for every later one too if nothing else hides it.
    const scores =
      m.dtype !== undefined && isFloat(m.dtype)
        ? found
        : found && { ...found, values: found.values.map((x) => (x === 0 ? Number.NEGATIVE_INFINITY : x)) };
    return wayOf(looksAhead(scores, s.probe.length), s.probe.isDoubtful(m));
  });
  if (ways.includes('causal')) return 'causal';
  return ways.includes(undefined) ? undefined : 'bidirectional';
}

const attention: Recognizer = (node, s) => {
  const [query, key, , mask] = node.inputs;
  const found = ofKeys(query, [key], s);
  if (found !== 'own') return found;
  const { is_causal, right_window_size } = attrsOf(node, 'Attention');
  if (is_causal === 1 || right_window_size === 0) return 'causal';
  return masked([mask], s);
};

const isSet = (node: Node, name: string, otherwise: number): boolean => {
  const attr = node.attrs.get(name);
  return (attr?.kind === 'int' ? Number(attr.value) : otherwise) === 1;
};

/** com.microsoft.Attention and its relatives, with queries, keys and values in one input. */
const packedAttention: Recognizer = (node, s) => {
  if (!depends(node.inputs[0], s)) return 'none';
  if (isSet(node, 'unidirectional', 0)) return 'causal';
  const plain = opKey(node) === 'com.microsoft.Attention';
  const mask = node.inputs[3];
  // A mask [batch, tokens] hides padding alone.
  const wide = (mask?.shape?.length ?? 0) > 2 ? mask : undefined;
  return plain ? masked([wide, node.inputs[5]], s) : undefined;
};

const multiHeadAttention: Recognizer = (node, s) => {
  const [query, key, , , padding, bias] = node.inputs;
  const found = key === undefined ? (depends(query, s) ? 'own' : 'none') : ofKeys(query, [key], s);
  if (found !== 'own') return found;
  if (isSet(node, 'unidirectional', 0)) return 'causal';
  return masked([(padding?.shape?.length ?? 0) > 2 ? padding : undefined, bias], s);
};

const groupQueryAttention: Recognizer = (node, s) => {
  if (!depends(node.inputs[0], s)) return 'none';
  return isSet(node, 'causal', 1) ? 'causal' : masked([node.inputs[10]], s);
};

const always =
  (way: Way): Recognizer =>
  (node, s) =>
    node.inputs.some((v) => depends(v, s)) ? way : 'none';

const recurrent: Recognizer = (node, s) => {
  if (!depends(node.inputs[0], s)) return 'none';
  const attr = node.attrs.get('direction');
  const direction = attr?.kind === 'string' ? new TextDecoder().decode(attr.value) : 'forward';
  return direction === 'forward' ? 'causal' : 'bidirectional';
};

const padsOf = ({ inputs: [, pads] }: Node, { probe }: Sources): Partly | undefined =>
  pads === undefined ? undefined : probe.at(pads);

/** A convolution [batch, channels, tokens] whose padding is at the start, or is cut off at the end. */
const conv: Recognizer = (node, s) => {
  const [x, w] = node.inputs;
  const width = w?.shape?.[2];
  if (!depends(x, s) || w?.shape?.length !== 3 || typeof width !== 'number' || width === 1) return 'none';
  const { pads = [0, 0], dilations = [1] } = attrsOf(node, 'Conv');
  const reach = (width - 1) * Number(dilations[0] ?? 1);
  // Padding may be an operator of its own: [0, 0, before, 0, 0, after].
  const padded = x?.producer?.op === 'Pad' ? listOf(padsOf(x.producer, s)) : undefined;
  const [before, after] =
    padded?.length === 6 && pads.every((p) => Number(p) === 0) ? [padded[2], padded[5]] : pads.map(Number);
  const isCut = [...(node.outputs[0]?.uses ?? [])].some((u) => u.node.op === 'Slice');
  if (before === reach && (after === 0 || (after === reach && isCut))) return 'causal';
  return before === after && Number(before) < reach && !isCut ? 'bidirectional' : undefined;
};

const cumSum: Recognizer = (node, s) => {
  const [x] = node.inputs;
  if (!depends(x, s) || x?.dtype === undefined || !isFloat(x.dtype)) return 'none';
  return attrsOf(node, 'CumSum').reverse === 0 ? 'causal' : undefined;
};

/** A shift by one token: zeros are put in front, and as many tokens are cut off at the end. */
const shift: Recognizer = (node, s) => {
  const [x, pads] = node.inputs;
  if (!depends(x, s) || pads === undefined) return 'none';
  const list = listOf(s.probe.at(pads)) ?? [];
  const rank = list.length / 2;
  const ways = list
    .slice(0, rank)
    .map((before, i) => (before > 0 && list[rank + i] === -before ? 'causal' : undefined));
  return ways.includes('causal') ? 'causal' : 'none';
};

/** A Fourier transform over the tokens, the second axis. */
const dft: Recognizer = (node, s) => {
  if (!depends(node.inputs[0], s)) return 'none';
  const given = node.inputs[2];
  const attr = node.attrs.get('axis');
  const axis =
    given === undefined ? (attr?.kind === 'int' ? Number(attr.value) : undefined) : listOf(s.probe.at(given))?.[0];
  const rank = node.inputs[0]?.shape?.length ?? 0;
  return axis !== undefined && (axis < 0 ? axis + rank : axis) === 1 ? 'bidirectional' : 'none';
};

const attentions: ReadonlyMap<string, Recognizer> = new Map([
  ['Softmax', softmax],
  ['com.microsoft.BiasSoftmax', softmax],
  ['Attention', attention],
  ['com.microsoft.Attention', packedAttention],
  ['com.microsoft.QAttention', packedAttention],
  ['com.microsoft.PackedAttention', always('bidirectional')],
  ['com.microsoft.LongformerAttention', always('bidirectional')],
  ['com.microsoft.MultiHeadAttention', multiHeadAttention],
  ['com.microsoft.GroupQueryAttention', groupQueryAttention],
  ['com.microsoft.PagedAttention', always('causal')],
  ['com.microsoft.SparseAttention', always('causal')],
  ['com.microsoft.DecoderMaskedMultiHeadAttention', always('causal')],
  ['com.microsoft.DecoderMaskedSelfAttention', always('causal')],
  ['com.microsoft.LinearAttention', always('causal')],
]);

const hints: ReadonlyMap<string, Recognizer> = new Map([
  ['LSTM', recurrent],
  ['GRU', recurrent],
  ['RNN', recurrent],
  ['Conv', conv],
  ['CumSum', cumSum],
  ['Pad', shift],
  ['DFT', dft],
  ['com.microsoft.CausalConvWithState', always('causal')],
]);

/** The operators before `output` that combine tokens, in the order of the graph. */
export function mixersBefore(graph: Graph, output: Value, s: Sources): Mixer[] {
  const needed = ancestorsOf([output]);
  return graph.nodes.flatMap((node): Mixer[] => {
    if (!node.outputs.some((v) => needed.has(v))) return [];
    const key = opKey(node);
    const recognize = attentions.get(key) ?? hints.get(key);
    const way = recognize === undefined ? 'none' : recognize(node, s);
    return way === 'none' ? [] : [{ node, way, attention: attentions.has(key) }];
  });
}
