/**
 * The names of parameters that a file kept. TorchScript renames the weights of Linear layers, because it transposes
 * them, but not biases, norms and embeddings; those are named as in torch.
 */
import type { Lengths } from '../../graph/layers.ts';
import { graphsOf, type Model, type Node, type Value } from '../../graph/model.ts';

export interface ParameterNames {
  /** Whether a module of this path, or one inside it, has a parameter. */
  has(path: string): boolean;
  /** Whether a module of this path has others with parameters inside. */
  holds(path: string): boolean;
  /** A value that the file declares and no longer has: a weight before it was quantized. */
  declared(name: string): Value | undefined;
  /** The head (`lm_head`) whose weight of this size only embeddings read, because it is tied to theirs. */
  tiedHead(size: Pick<Lengths, 'in' | 'out'>): string | undefined;
  /** The paths of such modules that end in these segments and have others before them. */
  endingIn(path: string): readonly string[];
}

export function parameterNames(model: Model): ParameterNames {
  const known = new Set<string>();
  for (const { initializers } of graphsOf(model))
    for (const { name } of initializers)
      if (/^[A-Za-z_]\w*(?:\.\w+)+$/.test(name))
        for (let dot = name.lastIndexOf('.'); dot > 0; dot = name.lastIndexOf('.', dot - 1))
          known.add(name.slice(0, dot));
  const strays = new Map(graphsOf(model).flatMap((g) => g.strayInfo.map((v) => [v.name, v])));
  const isTable = ({ uses }: Value): boolean => uses.size > 0 && [...uses].every((u) => u.node.op === 'Gather');
  const heads = graphsOf(model).flatMap((g) =>
    g.initializers.filter((v) => /^\w*head\.weight$/.test(v.name) && isTable(v)),
  );
  const byLast = new Map<string, string[]>();
  for (const path of known) {
    const last = lastOf(path);
    byLast.set(last, [...(byLast.get(last) ?? []), path]);
  }
  const holders = new Set([...known].map((path) => path.slice(0, Math.max(0, path.lastIndexOf('.')))));
  return {
    has: (path) => known.has(path),
    declared: (name) => strays.get(name),
    tiedHead: (size) =>
      heads.find((v) => v.tensor?.dims.join() === `${size.out},${size.in}`)?.name.replace(/\.weight$/, ''),
    holds: (path) => holders.has(path),
    endingIn: (path) => (byLast.get(lastOf(path)) ?? []).filter((k) => k.endsWith(`.${path}`)),
  };
}

const lastOf = (path: string): string => path.slice(path.lastIndexOf('.') + 1);

/** The operand of a layer's node that is added to its result. */
const ownBias: ReadonlyMap<string, number> = new Map([
  ['Conv', 2],
  ['DynamicQuantizeMatMul', 4],
  ['FusedConv', 2],
  ['FusedGemm', 2],
  ['Gemm', 2],
  ['MatMulIntegerToFloat', 6],
  ['MatMulNBits', 5],
]);

/** The operand that a fused operator adds to the result of the layer before it. */
const addedBias: ReadonlyMap<string, number> = new Map([
  ['BiasGelu', 1],
  ['FastGelu', 1],
  ['SkipLayerNormalization', 4],
  ['SkipSimplifiedLayerNormalization', 3],
]);

/** The module whose bias is added to a node's result: `a.b` for the parameter `a.b.bias`. */
export function moduleOfBias(node: Node): string | undefined {
  const name = node.inputs[ownBias.get(node.op) ?? Number.NaN]?.name;
  // The result of integers is scaled first.
  return name === undefined ? biasBehind(node.outputs[0], node.op === 'MatMulInteger') : withoutBias(name);
}

/** The module whose bias is added to a value. @param scaled whether it is cast and multiplied before. */
export function biasBehind(value: Value | undefined, scaled = false): string | undefined {
  const [use, ...more] = value?.uses ?? [];
  if (use === undefined || more.length > 0) return undefined;
  const { op, inputs, outputs } = use.node;
  if (op === 'Add') return withoutBias(inputs.find((v) => v?.tensor !== undefined)?.name);
  const at = addedBias.get(op);
  if (at !== undefined) return withoutBias(inputs[at]?.name);
  return scaled && (op === 'Cast' || op === 'Mul') ? biasBehind(outputs[0], scaled) : undefined;
}

const withoutBias = (name: string | undefined): string | undefined =>
  name?.endsWith('.bias') === true ? name.slice(0, -'.bias'.length) : undefined;
