/**
 * Module paths: the names by which PEFT users know layers, recovered from what each exporter leaves in the file
 * (TorchScript: node names; the torch exporter: metadata; optimizers: initializer names; simplifiers, which drop node
 * names and metadata: the names of biases).
 */
import { type Family, rootOf } from '../../graph/families/families.ts';
import type { Node, Value } from '../../graph/model.ts';
import type { Part, Product } from '../dialect/layerKind.ts';
import type { BuilderNames, Modules } from './builderNames.ts';
import { moduleOfBias, type ParameterNames } from './parameterNames.ts';
import { pythonList } from './pythonList.ts';
import { pathOfScopes } from './torchScopes.ts';

export type PathSource = 'folded_from' | 'initializer' | 'name_scopes' | 'node name' | 'bias' | 'fallback';

export interface ModulePath {
  readonly path: string;
  readonly from: PathSource;
}

interface Naming {
  readonly preferNode?: boolean;
  /** Names given by the user; if a module could have several names, one of these is used. */
  readonly known?: Modules;
  /** The names of the file's parameters. */
  readonly names: ParameterNames;
  readonly builder?: BuilderNames | undefined;
  /** The family that the config.json names. */
  readonly family?: Family | undefined;
}

/**
 * The module path of a weight's reader: the first found of folded_from, initializer name, name_scopes, node name, the
 * bias that is added, any other name. `preferNode`: the node's own name first, because several modules share the weight.
 */
export function modulePath(product: Product, naming: Naming): ModulePath {
  const { part } = product;
  if (part?.aliases !== undefined) return partPath(product, part, naming);
  if (part?.path !== undefined) return { path: part.path, from: 'bias' };
  const { path, from } = wholePath(product, naming);
  const own = part === undefined ? path : path.replace(/[^.]*$/, part.name);
  return { path: naming.builder?.path(own) ?? own, from };
}

/** The path of the module with the whole weight, as the file has it. */
export function wholePath(product: Product, { preferNode = false, names }: Naming): ModulePath {
  const { node, weight } = product;
  const stored = weight.stored;
  const prefix = product.calls.flatMap((c) => scopesIn(c.node.name));
  // The initializer of a matrix that an embedding also reads is named after the embedding, so the node's name is
  // better.
  const shared = preferNode || (node.op !== 'Gather' && [...stored.uses].some((u) => u.node.op === 'Gather'));
  const weightName = (): ModulePath | undefined =>
    named('folded_from', fromFolded(weight.chain, stored, names)) ?? named('initializer', fromInitializer(stored.name));
  const byWeight = shared ? undefined : weightName();
  const byName = (): string | undefined => fromNodeName(node.name, prefix, names, moduleOfBias(node));
  const byNode = named('name_scopes', fromScopes(node)) ?? named('node name', byName());
  const bias = moduleOfBias(node);
  // A parameter that a module shares with the one inside it is named after either.
  const byBias = named('bias', bias === undefined || names.holds(bias) ? undefined : bias);
  const late = (): ModulePath | undefined =>
    weightName() ?? named('initializer', node.op === 'Gather' ? undefined : names.tiedHead(product));
  return byWeight ?? byNode ?? byBias ?? late() ?? { path: fallback(product), from: 'fallback' };
}

/**
 * A module whose weight is packed with others. Optimizers remove it from the file and generate meaningless names for
 * node and weight (`Attention_0_qkv_weight`), but the result of the node keeps the name from the exporter.
 */
function partPath(product: Product, { name, aliases = [] }: Part, { known, family, names }: Naming): ModulePath {
  const { node, weight, calls } = product;
  const prefix = calls.flatMap((c) => scopesIn(c.node.name));
  const whole = named('initializer', fromPacked(weight.stored.name)) ??
    named('name_scopes', fromScopes(node)) ??
    named('node name', fromNodeName(node.name, prefix, names) ?? fromDotted(node.name)) ??
    named('node name', fromNodeName(node.outputs[0]?.name ?? '', prefix, names)) ?? {
      path: fallback(product),
      from: 'fallback',
    };
  const possible = [name, ...aliases].map((n) => `${whole.path}.${n}`);
  const isOwn = (path: string): boolean => family !== undefined && rootOf(family, path) !== undefined;
  const path = possible.find((p) => known?.has(p) === true) ?? possible.find(isOwn) ?? `${whole.path}.${name}`;
  return { path, from: whole.from };
}

/** `a.b.qkv_weight`, `a.b.qkv.weight`, `a.b.in_proj_weight` -> `a.b` */
const fromPacked = (name: string): string | undefined =>
  /^([A-Za-z_]\w*(?:\.\w+)*)\.(?:qkv|in_proj)[._]?weights?(?:_\w+)?$/.exec(name)?.[1];

/** `a.b.Attention_0` -> `a.b` */
const fromDotted = (name: string): string | undefined => /^([A-Za-z_]\w*(?:\.\w+)*)\.Attention\w*$/.exec(name)?.[1];

const named = (from: PathSource, path: string | undefined): ModulePath | undefined =>
  path === undefined || path === '' ? undefined : { path, from };

/** Makes paths unique in order, those marked `first` before the others: a second `x` becomes `x.1`. */
export function uniquePaths(paths: readonly string[], first: readonly boolean[] = []): string[] {
  const used = new Set<string>();
  const names = new Map<number, string>();
  for (const wave of [true, false]) {
    const own = [...paths.keys()].filter((i) => (first[i] ?? true) === wave);
    const taken = new Set(own.map((i) => paths[i]));
    for (const i of own) {
      const path = paths[i] ?? '';
      let name = path;
      for (let n = 1; used.has(name) || (name !== path && taken.has(name)); n++) name = `${path}.${n}`;
      used.add(name);
      names.set(i, name);
    }
  }
  return paths.map((p, i) => names.get(i) ?? p);
}

/** The torch exporter's optimizer records the parameters that a folded constant came from. */
function fromFolded(chain: readonly Node[], stored: Value, names: ParameterNames): string | undefined {
  const before = names.declared(stored.name.replace(quantized, ''));
  const values = [stored, ...chain.flatMap((n) => n.outputs), ...(before === undefined ? [] : [before])];
  for (const v of values) {
    const list = pythonList(v.metadata.get('pkg.onnxscript.optimizer.folded_from'));
    const weight = list.find((s) => s.endsWith('.weight'));
    if (weight !== undefined) return dropWrapper(weight.slice(0, -'.weight'.length));
  }
  return undefined;
}

/** The suffixes that quantizers append to the name of a weight. */
const quantized = /(?:_transposed|_quantized|_Bnb4|(?:_DQ)?_Q\d+)$/;

/** `a.b.weight`, also with the suffixes of optimizers and model builders. */
function fromInitializer(name: string): string | undefined {
  const hit = /^((?:[A-Za-z_]\w*|\d+)(?:\.\w+)*?)(?:\.MatMul(?:NBits)?)?\.q?weight$/.exec(name.replace(quantized, ''));
  return dropWrapper(hit?.[1]);
}

/** The torch exporter's scopes: the last entry names the node itself or, in other writers, its module. */
function fromScopes(node: Node): string | undefined {
  const torch = pythonList(node.metadata.get('pkg.torch.onnx.name_scopes'));
  if (torch.length >= 2) return dropWrapper(torch.at(-2));
  const script = pythonList(node.metadata.get('pkg.onnxscript.name_scopes')).filter((s) => s !== '');
  return script.length === 0 ? undefined : dropWrapper(script.join('.'));
}

/** All modules that the exporter's metadata name as holding a node, the innermost first. */
export const scopesOf = (node: Node): string[] =>
  pythonList(node.metadata.get('pkg.torch.onnx.name_scopes')).slice(0, -1).reverse();

/** `/model/layers.0/self_attn/q_proj/MatMul` -> model, layers.0, self_attn, q_proj. */
function scopesIn(name: string): string[] {
  const [first = ''] = name.split(';');
  // ONNX Runtime's optimizer appends the name of the fusion: `/lm_head/MatMul/MatMulScaleFusion/`.
  const segments = first
    .replace(/\/\w*Fusion\/?$/, '')
    .split('/')
    .filter((s) => s !== '');
  segments.pop();
  // Keras exports a dense layer on 3-D input as a Tensordot with its own scope.
  if (segments.length > 1 && segments.at(-1) === 'Tensordot') segments.pop();
  return segments;
}

function fromNodeName(
  name: string,
  prefix: readonly string[],
  names: ParameterNames,
  bias?: string,
): string | undefined {
  const scopes = scopesIn(name);
  return scopes.length === 0 ? undefined : dropWrapper(pathOfScopes([...prefix, ...scopes], names, bias));
}

const dropWrapper = (path: string | undefined): string | undefined => path?.replace(/\.base_layer$/, '');

function fallback({ node, weight, calls }: Product): string {
  const name = node.name || (weight.stored.producer === undefined ? weight.stored.name : '') || node.label;
  return [...calls.map((c) => c.node.label), name].join('.').replaceAll('/', '.').replace(/^\.+/, '');
}
