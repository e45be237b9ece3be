/**
 * Replaces sequences and optionals whose content is known at compile time with their tensors. A SplitToSequence becomes
 * a Split, a ConcatFromSequence a Concat, a SequenceMap one copy of its body per element.
 */
import { type Builder, createBuilder } from '../../graph/builder.ts';
import { cloneMap, cloneNodes } from '../../graph/clone.ts';
import { type Graph, type Model, Node, type Value } from '../../graph/model.ts';
import { attrsOf } from '../../graph/operators.ts';
import { dataTypeNumber, tensorOf } from '../../graph/tensor.ts';
import { outputsOf, toConstant } from './constants.ts';
import { smallOf } from './fold/small.ts';
import { detachedProducers, setNodes } from './splice.ts';

type List = readonly Value[];

interface Site {
  readonly lists: Map<Value, List>;
  /** undefined: empty. */
  readonly optionals: Map<Value, Value | undefined>;
  readonly results: ReadonlySet<Value>;
  /** Nodes that are already in the new node list. */
  readonly placed: Set<Node>;
  readonly g: Builder;
  readonly infer: (node: Node) => void;
}

/** In place. True if something was replaced; unused nodes are left for removeDead. */
export function foldSequences(model: Model, infer: (node: Node) => void): boolean {
  const known = { lists: new Map(), optionals: new Map(), placed: new Set<Node>() };
  return foldIn(model.graph, { ...known, results: outputsOf(model), g: createBuilder(infer), infer });
}

function foldIn(graph: Graph, site: Site): boolean {
  const nodes: Node[] = [];
  const put = (list: readonly Node[]): void => {
    nodes.push(...list);
    for (const n of list) site.placed.add(n);
  };
  let changed = false;
  for (const node of graph.nodes) {
    for (const body of node.bodies) changed = foldIn(body, site) || changed;
    const [y] = node.outputs;
    const mark = { origin: y?.name ?? node.label, rule: `sequences/${node.op}` };
    const made = node.domain === '' ? site.g.within(mark, () => replaced(node, graph, site)) : undefined;
    if (made !== undefined) {
      put(made);
      changed = true;
      continue;
    }
    nodes.push(node);
    if (node.domain === '' && y !== undefined && node.outputs.some((v) => v.uses.size > 0))
      put(site.g.within(mark, () => learn(node, y, graph, site)));
  }
  if (changed) setNodes(graph, nodes);
  return changed;
}

const integer = (v: Value | undefined): number | undefined => {
  const value = smallOf(v)?.values[0];
  return value === undefined ? undefined : Number(value);
};
/** A position that may count from the end; the end itself if none is given. */
const place = (position: Value | undefined, length: number): number | undefined => {
  const at = position === undefined ? length : integer(position);
  return at !== undefined && at < 0 ? at + length : at;
};

/**
 * Records the content of a node's outputs, if it is known; returns the nodes that make the elements, to be inserted
 * after it.
 */
function learn(node: Node, y: Value, graph: Graph, site: Site): Node[] {
  const { lists, optionals } = site;
  const [x, second, third] = node.inputs;
  const list = x && lists.get(x);
  switch (node.op) {
    case 'Identity':
      if (list !== undefined) lists.set(y, list);
      if (x !== undefined && optionals.has(x)) optionals.set(y, optionals.get(x));
      return [];
    case 'Optional':
      optionals.set(y, x);
      return [];
    case 'SequenceEmpty':
      lists.set(y, []);
      return [];
    case 'SequenceConstruct':
      lists.set(
        y,
        node.inputs.filter((v) => v !== undefined),
      );
      return [];
    case 'SequenceInsert': {
      const at = list && place(third, list.length);
      if (list !== undefined && at !== undefined && second !== undefined) lists.set(y, list.toSpliced(at, 0, second));
      return [];
    }
    case 'SequenceErase': {
      const at = list && (second === undefined ? list.length - 1 : place(second, list.length));
      if (list !== undefined && at !== undefined) lists.set(y, list.toSpliced(at, 1));
      return [];
    }
    case 'SplitToSequence':
      return x === undefined ? [] : split(node, x, second, y, site);
    case 'SequenceMap':
      return mapped(node, graph, site);
    default:
      return [];
  }
}

function split(node: Node, x: Value, lengths: Value | undefined, y: Value, { g, lists }: Site): Node[] {
  const { axis, keepdims } = attrsOf(node, 'SplitToSequence');
  const total = x.shape?.at(axis);
  const each = lengths === undefined ? 1 : lengths.shape?.length === 0 ? integer(lengths) : undefined;
  const count = each !== undefined && typeof total === 'number' ? Math.ceil(total / each) : lengths?.shape?.[0];
  if (typeof count !== 'number' || count === 0 || (each !== undefined && typeof total !== 'number')) return [];
  const sizes =
    each !== undefined && typeof total === 'number'
      ? g.ints(Array.from({ length: count }, (_, i) => Math.min(each, total - i * each)))
      : lengths?.dtype === 'int64'
        ? lengths
        : lengths && g.Cast(lengths, { to: dataTypeNumber('int64') });
  const parts = g.node({ op: 'Split', inputs: [x, sizes], attrs: { axis }, outputs: count });
  const drops = lengths === undefined && keepdims === 0;
  const list = drops ? parts.map((v) => g.Squeeze(v, g.ints([axis]))) : parts;
  lists.set(y, list);
  return detachedProducers(list);
}

/** Copies of the body, one for each element of the sequences it runs over. */
function mapped(node: Node, graph: Graph, { lists, infer }: Site): Node[] {
  const { body } = attrsOf(node, 'SequenceMap');
  const [first] = node.inputs;
  const count = first && lists.get(first)?.length;
  if (count === undefined || body === undefined) return [];
  // A further input may be a sequence of equally many elements, or a tensor that all copies read.
  const inputs = node.inputs.map((v) => (v?.type?.kind === 'sequence' ? lists.get(v) : v));
  if (inputs.some((v) => v === undefined || (Array.isArray(v) && v.length !== count))) return [];
  const outputs: Value[][] = node.outputs.map(() => []);
  const nodes: Node[] = [];
  for (let i = 0; i < count; i++) {
    const map = cloneMap();
    body.inputs.forEach((v, j) => {
      const given = inputs[j];
      map.values.set(v, Array.isArray(given) ? given[i] : given);
    });
    const copies = cloneNodes(body.nodes, map);
    copies.forEach(infer);
    nodes.push(...copies);
    body.outputs.forEach((v, j) => {
      outputs[j]?.push(map.values.get(v) ?? v);
    });
  }
  graph.initializers.push(...body.initializers.filter((v) => !graph.initializers.includes(v)));
  node.outputs.forEach((v, j) => {
    lists.set(v, outputs[j] ?? []);
  });
  return nodes;
}

/** Nodes instead of one that reads a known sequence or optional and returns a tensor; undefined if it is kept. */
function replaced(node: Node, graph: Graph, { lists, optionals, g, results, placed, infer }: Site): Node[] | undefined {
  const [x, position] = node.inputs;
  const [y] = node.outputs;
  if (y === undefined) return undefined;
  const list = x && lists.get(x);
  const handOn = (value: Value | undefined): Node[] | undefined => {
    if (value === undefined) return undefined;
    const last = new Node({ op: 'Identity', name: node.name, inputs: [value], outputs: [y] });
    infer(last);
    return [...detachedProducers([value], placed), last];
  };
  switch (node.op) {
    case 'SequenceAt': {
      const at = list && place(position, list.length);
      return at === undefined ? undefined : handOn(list?.[at]);
    }
    case 'SequenceLength':
      if (list === undefined) return undefined;
      return toConstant(node, tensorOf('int64', [], [list.length]), graph, results);
    case 'ConcatFromSequence': {
      const { axis = 0, new_axis } = attrsOf(node, 'ConcatFromSequence');
      if (list === undefined || list.length === 0) return undefined;
      const parts = new_axis === 1 ? list.map((v) => g.Unsqueeze(v, g.ints([axis]))) : list;
      return handOn(g.Concat(parts, { axis }));
    }
    case 'OptionalHasElement': {
      const known = x === undefined ? 0 : optionals.has(x) ? Number(optionals.get(x) !== undefined) : undefined;
      const plain = known ?? (x?.type !== undefined && x.type.kind !== 'optional' ? 1 : undefined);
      return plain === undefined ? undefined : toConstant(node, tensorOf('bool', [], [plain]), graph, results);
    }
    case 'OptionalGetElement':
      if (x !== undefined && optionals.has(x)) return handOn(optionals.get(x));
      return handOn(x?.type !== undefined && x.type.kind !== 'optional' ? x : undefined);
    default:
      return undefined;
  }
}
