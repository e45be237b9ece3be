/**
 * The parameters of a model's modules, named as in torch: module path, dot, `weight` or `bias` or the name in the file.
 */
import { layerOp } from '../../graph/layers.ts';
import type { Model, Node, Use, Value } from '../../graph/model.ts';
import { isFloat, type Tensor } from '../../graph/tensor.ts';
import { constantTensor, isQuantized } from '../common/constantOperand.ts';
import type { Product } from '../dialect/layerKind.ts';
import type { Candidate } from './candidates.ts';

/** A float tensor of the model that is a parameter of a module. */
export interface Parameter {
  /** The parameter's path, for example `classifier.weight`. */
  readonly path: string;
  readonly module: string;
  readonly value: Value;
  readonly tensor: Tensor;
  /** The uses by the module; other readers are other modules. */
  readonly uses: readonly Use[];
  /** The weight is stored as the transpose of torch's. */
  readonly transposed: boolean;
  /** The reason why it cannot be trained. */
  readonly refused: string | undefined;
}

/** In order of first appearance: the parameters of weighted layers, then tensors named with a module path. */
export function findParameters(model: Model, candidates: readonly Candidate[]): Parameter[] {
  const found: Parameter[] = [];
  const taken = new Set<string>();
  const claimed = new Set<Value>();
  const put = (p: Omit<Parameter, 'path'> & { readonly leaf: string }): void => {
    const { leaf, ...rest } = p;
    const path = `${p.module}.${leaf}`;
    claimed.add(p.value);
    if (taken.has(path) || p.uses.length === 0) return;
    taken.add(path);
    found.push({ ...rest, path });
  };
  for (const c of candidates) {
    const [first] = c.products;
    if (first === undefined || first.part !== undefined) continue;
    const inside = c.products.some((p) => p.calls.length > 0) ? 'it is read inside a function' : undefined;
    const nodes = new Set(c.products.flatMap((p) => [p.node, ...p.weight.chain]));
    const { tensor } = first.weight;
    const packed = isQuantized(first.weight) ? `it is quantized (${tensor.dtype})` : undefined;
    const uses = [...c.stored.uses].filter((u) => nodes.has(u.node));
    // A tensor that kept its name has torch's layout; exporters rename what they transpose.
    const transposed =
      layerOp(c.op).form === 'linear' &&
      c.layout === 'in_out' &&
      c.stored.name !== `${c.path}.weight` &&
      !/\.weight$/.test(c.stored.name);
    put({ module: c.path, leaf: 'weight', value: c.stored, tensor, uses, transposed, refused: inside ?? packed });
    const biases = c.products.map((p) => biasOf(p, c.out));
    const [bias] = biases;
    if (bias === undefined || biases.some((b) => b?.value !== bias.value)) continue;
    const all = biases.flatMap((b) => (b === undefined ? [] : [b.use]));
    put({ module: c.path, leaf: 'bias', ...bias, uses: all, transposed: false, refused: inside });
  }
  for (const value of model.graph.initializers) {
    const { name, tensor } = value;
    const dot = name.lastIndexOf('.');
    if (tensor === undefined || dot <= 0 || claimed.has(value) || !isFloat(tensor.dtype) || tensor.dims.length === 0)
      continue;
    const [module, leaf] = [name.slice(0, dot), name.slice(dot + 1)];
    put({ module, leaf, value, tensor, uses: [...value.uses], transposed: false, refused: undefined });
  }
  return found;
}

/** The constant vector that is added to a layer's result: Gemm's and Conv's third input, or an Add after the node. */
function biasOf({ node }: Product, out: number): { value: Value; tensor: Tensor; use: Use } | undefined {
  const [y] = node.outputs;
  const own = node.inputs[2];
  const at = (reader: Node, index: number, v: Value | undefined) => {
    const tensor = v === undefined ? undefined : constantTensor(v);
    const fits = tensor !== undefined && isFloat(tensor.dtype) && tensor.dims.length === 1 && tensor.dims[0] === out;
    return v === undefined || !fits ? undefined : { value: v, tensor, use: { node: reader, index } };
  };
  if (node.op === 'Gemm' || node.op === 'Conv') return at(node, 2, own);
  const [reader] = y?.uses.size === 1 ? y.uses : [];
  if (node.op !== 'MatMul' || reader?.node.op !== 'Add' || reader.node.domain !== '') return undefined;
  const other = 1 - reader.index;
  return at(reader.node, other, reader.node.inputs[other]);
}

/**
 * The parameters of the modules that `patterns` name, submodules included: a module matches if its path ends with a
 * pattern, which is PEFT's rule (peft/utils/other.py, _set_trainable). The second list has the patterns without a
 * match.
 */
export function parametersOf(
  parameters: readonly Parameter[],
  patterns: readonly string[],
): { readonly chosen: Parameter[]; readonly unmatched: string[] } {
  const matches = (module: string, pattern: string): boolean => ancestors(module).some((m) => m.endsWith(pattern));
  return {
    chosen: parameters.filter((p) => patterns.some((t) => matches(p.module, t))),
    unmatched: patterns.filter((t) => !parameters.some((p) => matches(p.module, t))),
  };
}

/** The module itself and its parents. */
function ancestors(module: string): string[] {
  const parts = module.split('.');
  return parts.map((_, i) => parts.slice(0, i + 1).join('.'));
}
