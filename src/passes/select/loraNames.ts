/**
 * The names that PEFT leaves in an export. A wrapped module has the layer as its child `base_layer`, and the adapter's
 * modules beside it: TorchScript names those after the adapter (`default`, `default_1`), other exporters after the
 * attribute (`lora_A.default`).
 */
import { layerOp } from '../../graph/layers.ts';
import { graphsOf, type Model, type Node } from '../../graph/model.ts';
import type { Product } from '../dialect/layerKind.ts';
import { layerOpOf } from './layers/index.ts';
import { scopesOf } from './modulePaths.ts';

export interface LoraNames {
  /** The wrapped module whose adapter a node belongs to; undefined for a layer, and for nodes outside. */
  moduleOf(p: Product): string | undefined;
  /** The reason why the adapter of a module is not a plain branch, as far as names show it. */
  reasonOf(module: string, p: Product): string;
}

const factor = /(?:^|[./])(lora_(?:A|B|embedding_A|embedding_B|magnitude_vector|down|up))(?:$|[./])/;

export function loraNames(model: Model): LoraNames {
  const wrapped = new Set<string>();
  const decomposed: string[] = [];
  const note = (path: string): void => {
    const [module] = /^(.+?)\.base_layer(?:\.|$)/.exec(path)?.slice(1) ?? [];
    if (module !== undefined) wrapped.add(module);
    if (path.includes('lora_magnitude_vector')) decomposed.push(path);
  };
  for (const g of graphsOf(model)) {
    for (const v of g.initializers) note(v.name);
    for (const n of g.nodes) for (const path of pathsOf(n)) note(path);
  }
  const moduleOf = ({ node, weight }: Product): string | undefined => {
    for (const path of [weight.stored.name, ...pathsOf(node)]) {
      const named = factor.exec(path);
      if (named !== null) return path.slice(0, named.index);
    }
    for (const path of pathsOf(node)) {
      const parts = path.split('.');
      for (let n = parts.length; n > 0; n--) {
        const module = parts.slice(0, n).join('.');
        if (wrapped.has(module)) return parts[n] === 'base_layer' ? undefined : module;
      }
    }
    return undefined;
  };
  const reasonOf = (module: string, { node }: Product): string => {
    if (decomposed.some((path) => path.includes(`${module}.lora_magnitude_vector`)))
      return 'it is weight-decomposed (DoRA)';
    if (!['Conv', 'FusedMatMul', 'Gather', 'Gemm', 'MatMul'].includes(node.op)) return `its factors are in ${node.op}`;
    return layerOp(layerOpOf(node)).form === 'embedding'
      ? 'it is on an embedding, in another form than base + scale·B(A(x))'
      : 'it does not have the form base + scale·B(A(x)), as with lora_bias or another variant';
  };
  return { moduleOf, reasonOf };
}

/** The module paths that name a node: its scopes, its own name, and the name of its result. */
function pathsOf(node: Node): string[] {
  const own = node.name.split('/').filter((s) => s !== '');
  return [...scopesOf(node), ...(own.length > 1 ? [own.slice(0, -1).join('.')] : [])];
}

export interface PeftNames {
  /** The path of a module in PEFT's files: without the wrappers of PEFT that an export keeps in its names. */
  readonly nameOf: (path: string) => string;
  /** Whether the module is a copy that PEFT trained in full (modules_to_save). */
  readonly isSaved: (path: string) => boolean;
}

export function peftNames(model: Model): PeftNames {
  const names = graphsOf(model).flatMap((g) => g.initializers.map((v) => v.name));
  const wrapped = names.some((n) => /(?:^|\.)base_model\.model\./.test(n));
  const saved = new Set(
    names.flatMap((n) => /^(.+)\.modules_to_save\.[^.]+\.[^.]+$/.exec(n)?.slice(1) ?? []).map(unwrapped),
  );
  const plain = (path: string): string => {
    const inner = unwrapped(path);
    // TorchScript has no scope for PEFT's outer module, whose forward is not called.
    const bare = wrapped && inner === path ? path.replace(/^model\./, '') : inner;
    return bare.replace(/\.base_layer$/, '').replace(/\.modules_to_save\.[^.]+$/, '');
  };
  const parent = (path: string): string => plain(path).replace(/\.[^.]+$/, '');
  return {
    nameOf: (path) => (saved.has(parent(path)) ? parent(path) : plain(path)),
    isSaved: (path) => saved.has(parent(path)) || /\.modules_to_save\.[^.]+$/.test(path),
  };
}

const unwrapped = (path: string): string => path.replace(/^(?:.*\.)?base_model\.model\./, '');
