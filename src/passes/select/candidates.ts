/** Collects weights that may become layers, each with all nodes that read it. */
import { type Family, familyOf } from '../../graph/families/families.ts';
import { packedNames } from '../../graph/families/packedPaths.ts';
import { layerOp } from '../../graph/layers.ts';
import type { Layer, Model, Value } from '../../graph/model.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { Product, Skipped } from '../dialect/layerKind.ts';
import { type BuilderNames, builderNames, type Modules } from './builderNames.ts';
import { findProducts } from './findProducts.ts';
import { foldedFrom } from './foldedUses.ts';
import { layerOpOf } from './layers/index.ts';
import { type ModulePath, modulePath, uniquePaths, wholePath } from './modulePaths.ts';
import { joinedParts, partsOf } from './packedWeights.ts';
import { type ParameterNames, parameterNames } from './parameterNames.ts';

/** A weight with all nodes that read it: a layer if it is selected. */
export interface Candidate {
  readonly path: string;
  /** The path of its module: equal to `path`, unless several weights have one. */
  readonly module: string;
  readonly from: ModulePath['from'];
  readonly products: readonly Product[];
  readonly in: number;
  readonly out: number;
  readonly layout: 'in_out' | 'out_in';
  /** The kernel shape of a convolution. */
  readonly kernel?: readonly number[] | undefined;
  /** Name of the stored tensor. */
  readonly weight: string;
  readonly stored: Value;
  /** The operator, and the labels of all nodes; kept because `adapt` changes the nodes. */
  readonly op: string;
  readonly nodes: readonly string[];
  /** A constant of the file that the exporter computed with this layer: a use without a node (foldedUses.ts). */
  readonly folded: string | undefined;
}

export interface Candidates {
  readonly candidates: readonly Candidate[];
  readonly skipped: readonly Skipped[];
  /** The skipped nodes that read the weight of a candidate in another way. */
  readonly apart: readonly { readonly node: string; readonly stored: Value }[];
}

export interface NamingOptions {
  /** Modules that the user names. Where a module may have several names, one of these is used. */
  readonly targets?: Modules | undefined;
  /** model_type of the config.json. */
  readonly family?: string | undefined;
}

/**
 * Groups the uses of weights in a model by weight, in order of first appearance. Exporters fold equal weights of
 * several modules into one tensor: if `separate` names two or more of those modules, each is a separate candidate.
 */
export function findCandidates(
  model: Model,
  separate: Modules = new Set(),
  { targets = separate, family }: NamingOptions = {},
): Candidates {
  const { products: whole, skipped } = findProducts(model);
  const known = { has: (path: string) => separate.has(path) || targets.has(path) };
  const naming = namingOf(model, known, family);
  const products = whole.flatMap((p) => unpacked(p, naming));
  const groups = new Map<string, Product[]>();
  const refused: (Skipped & { readonly stored: Value })[] = [];
  const keyOf = weightKeys();
  for (const p of products) {
    const group = groups.get(keyOf(p));
    const [first] = group ?? [];
    if (group === undefined || first === undefined) groups.set(keyOf(p), [p]);
    else if (agrees(first, p)) group.push(p);
    else
      refused.push({
        node: p.node.label,
        op: p.node.op,
        stored: p.weight.stored,
        reason: `weight "${p.weight.stored.name}" is read as another matrix shape by "${first.node.label}"`,
      });
  }
  const lists = [...groups.values()]
    .flatMap((g) => modules(g, separate, naming))
    .flatMap((g) => (g[0] === undefined ? [] : [{ group: g, first: g[0] }]));
  const paths = lists.map(({ group, first }) =>
    modulePath(first, { preferNode: groups.get(keyOf(first))?.length !== group.length, ...naming }),
  );
  // Default layers are named first, so that the others do not change their names.
  const isDefault = lists.map(({ first }) => layerOp(layerOpOf(first.node)).byDefault);
  const found = paths.map((p) => p.path);
  const unique = uniquePaths(found, isDefault);
  const computed = foldedFrom(model);
  const weights = new Set(products.flatMap((p) => [p.weight.stored, ...p.weight.chain.flatMap((n) => n.outputs)]));
  const candidates = lists.map(
    ({ group, first }, i): Candidate => ({
      path: unique[i] ?? first.node.label,
      module: paths[i]?.path ?? first.node.label,
      from: paths[i]?.from ?? 'fallback',
      products: group,
      in: first.in,
      out: first.out,
      layout: first.layout,
      kernel: first.kernel,
      weight: first.weight.stored.name,
      stored: first.weight.stored,
      op: layerOpOf(first.node),
      folded: computed.get(`${paths[i]?.path}.weight`)?.find((v) => !weights.has(v))?.name,
      nodes: [...new Set(group.map((p) => [...p.calls.map((c) => c.node.label), p.node.label].join('/')))],
    }),
  );
  return { candidates, skipped: [...skipped, ...refused.map(({ stored, ...rest }) => rest)], apart: refused };
}

const namingOf = (model: Model, known: Modules, type: string | undefined): Naming => ({
  known,
  names: parameterNames(model),
  builder: builderNames(model, known, type),
  family: familyOf(type),
});

interface Naming {
  readonly known: Modules;
  readonly names: ParameterNames;
  readonly builder: BuilderNames | undefined;
  readonly family: Family | undefined;
}

/**
 * The parts of a packed weight if they are known modules, if the model builder packed them and the whole is not a known
 * module, or if a simplifier joined them; else the product itself.
 */
function unpacked(product: Product, naming: Naming): readonly Product[] {
  const { known, builder } = naming;
  const { path, from } = wholePath(product, naming);
  const joined = from === 'fallback' ? joinedParts(product) : [];
  if (joined.length > 0) return joined;
  const parts = partsOf(product, packedNames(path));
  if (parts.length === 0 || known.has(path) || known.has(builder?.path(path) ?? path)) return [product];
  const areKnown = parts.some((part) => known.has(modulePath(part, naming).path));
  return areKnown || builder?.unpacks(builder.path(path)) === true ? parts : [product];
}

/**
 * Keys of weights. A table that an embedding and a MatMul share is two layers: the update of one does not apply to the
 * other. The parts of a packed weight are separate layers as well.
 */
function weightKeys(): (p: Product) => string {
  const serials = new Map<Value, number>();
  return ({ node, weight: { stored }, part }) => {
    const serial = serials.get(stored) ?? serials.size;
    serials.set(stored, serial);
    return `${serial}:${layerOp(layerOpOf(node)).form}:${part?.path ?? part?.name ?? ''}`;
  };
}

/** The uses of one weight, split by module if `separate` names the modules. */
function modules(group: readonly Product[], separate: Modules, naming: Naming): (readonly Product[])[] {
  const byPath = new Map<string, Product[]>();
  for (const p of group) {
    const { path } = modulePath(p, { preferNode: true, ...naming });
    byPath.set(path, [...(byPath.get(path) ?? []), p]);
  }
  return [...byPath.keys()].filter((path) => separate.has(path)).length > 1 ? [...byPath.values()] : [group];
}

/** Whether two uses of one tensor read the same matrix or, for MatMuls, its transpose. */
const agrees = (a: Product, b: Product): boolean =>
  a.kernel?.join() === b.kernel?.join() &&
  a.part?.from === b.part?.from &&
  (a.part === undefined || a.layout === b.layout) &&
  (a.layout === b.layout
    ? a.in === b.in && a.out === b.out
    : layerOp(layerOpOf(a.node)).form === 'linear' && a.in === b.out && a.out === b.in);

/** A chosen layer with the initial content of A and B, float32 in the shapes of graph/layers.ts. */
export interface Chosen {
  readonly candidate: Candidate;
  readonly layer: Layer;
  /** The module's path in PEFT's files; absent: the layer's path. */
  readonly peft?: string | undefined;
  readonly A: Tensor;
  readonly B: Tensor;
  /** The magnitude of a DoRA layer: float32 [out]. */
  readonly magnitude?: Tensor | undefined;
  /** The new content of the weight if the initial A and B are a part of it (adapt/residualWeights.ts). */
  readonly changed?: Tensor | undefined;
}
