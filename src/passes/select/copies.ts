/**
 * Weights that the file holds several times. An exporter that folds `Transpose(W)` for each use of a shared layer
 * writes one initializer per use; so do optimizers that fold casts or quantize per use. They are one weight again
 * before layers are selected: a layer has one A and B, and a merge changes all copies.
 *
 * Equal bytes alone do not make two weights one: layers may start from equal weights. Their origin must be the same.
 */
import { layerOp } from '../../graph/layers.ts';
import { freshName, type Model, Node, namesIn, tensorType, type Use, Value } from '../../graph/model.ts';
import { isTransposeOf, isUniform, sameContent } from '../../graph/sameContent.ts';
import { isFloat, type Tensor } from '../../graph/tensor.ts';
import { constantTensor } from '../common/constantOperand.ts';
import type { Product } from '../dialect/layerKind.ts';
import { findProducts } from './findProducts.ts';
import { parametersIn } from './foldedUses.ts';
import { layerOpOf } from './layers/index.ts';
import { type ModulePath, modulePath } from './modulePaths.ts';
import { parameterNames } from './parameterNames.ts';

type PathOf = (p: Product) => ModulePath;

/** A stored weight that repeats another. */
export interface Copy {
  readonly value: Value;
  /** The weight that is repeated. */
  readonly of: Value;
  /** It is the transpose of the other. */
  readonly transposed: boolean;
}

/** The same by name, as the manifest has it. */
export interface NamedCopy {
  readonly weight: string;
  readonly of: string;
  readonly transposed?: boolean | undefined;
}

/** A copy that was replaced by the weight. */
export interface JoinedCopy extends Copy {
  readonly tensor: Tensor;
  /** The uses in the source. */
  readonly uses: readonly Use[];
  /** The node that transposes the weight for them. */
  readonly through: Node | undefined;
}

/** The copies of layers' weights. Only weights of equal origin are read. */
export function findCopies(model: Model): Copy[] {
  const groups = new Map<string, Product[]>();
  const names = parameterNames(model);
  const pathOf = (p: Product): ModulePath => modulePath(p, { preferNode: true, names });
  for (const p of findProducts(model).products) {
    const { stored } = p.weight;
    if (!isOwn(model, stored)) continue;
    const { form } = layerOp(layerOpOf(p.node));
    const key = `${form}:${isFloat(p.weight.tensor.dtype) ? '' : p.node.op}:${originOf(p, pathOf)}`;
    const group = groups.get(key) ?? [];
    if (group.every((other) => other.weight.stored !== stored)) groups.set(key, [...group, p]);
  }
  const known = new Set<Value>();
  return [...groups.values()].flatMap((group) => {
    const firsts: Product[] = [];
    return group.flatMap((p): Copy[] => {
      for (const first of firsts) {
        if (!sameOrigin(first, p, pathOf)) continue;
        const transposed = repeats(first, p);
        if (transposed === undefined || known.has(p.weight.stored) || known.has(first.weight.stored)) continue;
        known.add(p.weight.stored);
        return [{ value: p.weight.stored, of: first.weight.stored, transposed }];
      }
      firsts.push(p);
      return [];
    });
  });
}

/** The copies that a manifest lists. Names that are not in the model are left out. */
export function namedCopies(model: Model, list: readonly NamedCopy[]): Copy[] {
  if (list.length === 0) return [];
  const values = new Map<string, Value>();
  for (const { weight } of findProducts(model).products) values.set(weight.stored.name, weight.stored);
  return list.flatMap(({ weight, of, transposed = false }) => {
    const [value, first] = [values.get(weight), values.get(of)];
    return value === undefined || first === undefined ? [] : [{ value, of: first, transposed }];
  });
}

/** Lets all readers of a copy read the weight that it repeats, and removes the copy. In place. */
export function joinCopies(model: Model, copies: readonly Copy[]): JoinedCopy[] {
  return copies.flatMap((copy): JoinedCopy[] => {
    const { value, of, transposed } = copy;
    const tensor = constantTensor(value);
    if (tensor === undefined) return [];
    const uses = [...value.uses];
    const source = transposed ? transposeOf(model, of, tensor) : of;
    const through = transposed ? source.producer : undefined;
    for (const { node, index } of uses) node.setInput(index, source);
    const at = model.graph.initializers.indexOf(value);
    if (at >= 0) model.graph.initializers.splice(at, 1);
    else if (value.producer !== undefined) model.graph.remove(value.producer);
    return [{ ...copy, tensor, uses, through }];
  });
}

/** A Transpose at the place from which all nodes of the main graph can read it. */
function transposeOf(model: Model, of: Value, { dtype, dims }: Tensor): Value {
  const taken = namesIn(model.graph.allGraphs());
  const out = new Value(freshName(`${of.name}.transposed`, taken), tensorType(dtype, dims));
  const node = new Node({ op: 'Transpose', name: out.name, inputs: [of], outputs: [out] });
  node.attrs.set('perm', { kind: 'ints', value: [1, 0] });
  model.graph.insertAfter(of.producer, node);
  return out;
}

/** Whether a stored value belongs to this file alone: no caller, output or body can tell it from its copy. */
const isOwn = ({ graph }: Model, v: Value): boolean =>
  !graph.inputs.includes(v) &&
  !graph.outputs.includes(v) &&
  (v.producer === undefined ? graph.initializers.includes(v) : v.producer.graph === graph);

/** Products of different keys never have one weight. */
function originOf(p: Product, pathOf: PathOf): string {
  const parameter = parameterOf(p);
  return parameter === undefined ? `path ${pathOf(p).path.split('.').map(bare).join('.')}` : `parameter ${parameter}`;
}

/** The parameters that the weight was made of: what the exporter recorded, or the name that it kept. */
function parameterOf({ weight: { stored, chain } }: Product): string | undefined {
  const folded = [stored, ...chain.flatMap((n) => n.outputs)].map(parametersIn).find((list) => list.length > 0);
  if (folded !== undefined) return folded.join();
  return /^[A-Za-z_]\w*(?:\.\w+)*\.(?:\w*weight|kernel)$/.test(stored.name) ? stored.name : undefined;
}

/** The name of a module's first call: exporters number the calls, as `ffn` and `ffn_1`. */
const bare = (segment: string): string => segment.replace(/_\d+$/, '');

/**
 * Whether the weights of two products of one key have one origin. A recorded parameter is enough; paths must be those
 * of one module or of its numbered calls, and only count if no parameter is known and the weight was trained.
 */
function sameOrigin(first: Product, p: Product, pathOf: PathOf): boolean {
  if (parameterOf(first) !== undefined) return true;
  const [a, b] = [pathOf(first), pathOf(p)];
  if (a.from === 'fallback' || b.from === 'fallback') return false;
  const [left, right] = [a.path.split('.'), b.path.split('.')];
  const calls = left.every((s, i) => s === right[i] || (/_\d+$/.test(right[i] ?? '') && bare(right[i] ?? '') === s));
  return left.length === right.length && calls && !isUniform(first.weight.tensor);
}

/**
 * Whether the weight of `p` repeats that of `first`: false if directly, true if transposed, undefined if it does not.
 */
function repeats(first: Product, p: Product): boolean | undefined {
  const [a, b] = [first.weight, p.weight];
  if (first.in !== p.in || first.out !== p.out || first.kernel?.join() !== p.kernel?.join()) return undefined;
  if (!constantsOf(first).every((t, i) => sameOrAbsent(t, constantsOf(p)[i]))) return undefined;
  if (constantsOf(first).length !== constantsOf(p).length) return undefined;
  if (first.layout === p.layout) return sameContent(a.tensor, b.tensor) ? false : undefined;
  const plain = [...a.chain, ...b.chain].every(({ op }) => op === 'Transpose' || op === 'Identity');
  return plain && isTransposeOf(a.tensor, b.tensor) ? true : undefined;
}

/** The constants that decide how the stored numbers are read: scales and zero points of the chain, and of the node. */
function constantsOf({ node, weight: { stored, tensor, chain } }: Product): (Tensor | undefined)[] {
  const own = isFloat(tensor.dtype) ? [] : node.inputs.filter((v) => v !== stored);
  const behind = chain.flatMap((n) => (n.op === 'DequantizeLinear' ? n.inputs.slice(1) : []));
  return [...behind, ...own].map((v) => (v === undefined ? undefined : constantTensor(v)));
}

const sameOrAbsent = (a: Tensor | undefined, b: Tensor | undefined): boolean =>
  a === undefined || b === undefined ? a === b : sameContent(a, b);
