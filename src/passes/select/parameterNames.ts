/**
 * The names of parameters that a file kept. TorchScript renames the weights of Linear layers, because it transposes
 * them, but not biases, norms and embeddings; those are named as in torch.
 */
import { graphsOf, type Model, type Node } from '../../graph/model.ts';

export interface ParameterNames {
  /** Whether a module of this path, or one inside it, has a parameter. */
  has(path: string): boolean;
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
  const byLast = new Map<string, string[]>();
  for (const path of known) {
    const last = lastOf(path);
    byLast.set(last, [...(byLast.get(last) ?? []), path]);
  }
  return {
    has: (path) => known.has(path),
    endingIn: (path) => (byLast.get(lastOf(path)) ?? []).filter((k) => k.endsWith(`.${path}`)),
  };
}

const lastOf = (path: string): string => path.slice(path.lastIndexOf('.') + 1);

/** The module whose bias is added to a node's result: `a.b` for the parameter `a.b.bias`. */
export function moduleOfBias(node: Node): string | undefined {
  const own = node.op === 'Gemm' || node.op === 'Conv' ? node.inputs[2] : undefined;
  const [use, ...more] = node.outputs[0]?.uses ?? [];
  const sum = more.length === 0 && use?.node.op === 'Add' ? use.node : undefined;
  const added = sum?.inputs.find((v) => v?.tensor !== undefined && v.name.endsWith('.bias'));
  const name = own?.name ?? added?.name;
  return name?.endsWith('.bias') === true ? name.slice(0, -'.bias'.length) : undefined;
}
