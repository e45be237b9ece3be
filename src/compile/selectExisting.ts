/** Selects the layers whose LoRA was taken out of the source: they start from its A and B. */
import { badOption, existingLora as existingLoraError } from '../errors.ts';
import { floatsOf } from '../formats/rawTensor.ts';
import { factorShapes, layerOp, sizeOf, transposed } from '../graph/layers.ts';
import type { Candidate, Chosen, LoraBranch, Product } from '../passes/index.ts';
import type { Selection } from './compiled.ts';
import type { TreatedLora } from './existingLora.ts';
import { inline } from './initialFactors.ts';
import { layerOf } from './select.ts';

/** The layers whose LoRA was taken out, starting from its A and B. Errors: EXISTING_LORA. */
export function selectExisting(
  candidates: readonly Candidate[],
  { lifted, peftName }: TreatedLora,
  nameOf: (wanted: string) => string,
): Selection {
  const byNode = new Map(lifted.map(({ branch }) => [branch.base.node, branch]));
  const left = new Map<string, string>();
  const chosen = candidates.flatMap((candidate): Chosen[] => {
    const branches = candidate.products.map((p) => byNode.get(p.node));
    const [branch] = branches.filter((b) => b !== undefined);
    if (branch === undefined) {
      left.set(candidate.path, 'not in the LoRA of the file');
      return [];
    }
    const other = branches.findIndex((b) => b === undefined || !sameFactors(b, branch));
    if (other >= 0)
      throw existingLoraError(
        `node "${candidate.nodes[other]}" reads the weight of "${candidate.path}" without the LoRA that another node has`,
        candidate.nodes[other],
      );
    const rank = branch.A.out;
    const layer = layerOf(candidate, rank, branch.scale * rank, branch.scale, false, nameOf);
    const factors = { A: factorOf(branch.A, layer), B: factorOf(branch.B, layer) };
    const shapes = factorShapes(layer);
    if (factors.A.length !== sizeOf(shapes.A) || factors.B.length !== sizeOf(shapes.B))
      throw existingLoraError(
        `the factors of "${candidate.path}" do not have the shapes of its weight`,
        branch.sum.label,
      );
    return [{ candidate, layer, peft: peftName(candidate.path), ...inline(layer, factors) }];
  });
  if (chosen.length === 0) throw badOption('no layer of the model has the LoRA that its branches are for');
  const { rank = 1, alpha = 1 } = chosen[0]?.layer ?? {};
  return { chosen, left, warnings: [], settings: { rank, alpha, scaling: 'standard', otherFields: {} } };
}

const sameFactors = (a: LoraBranch, b: LoraBranch): boolean =>
  a.A.weight.stored === b.A.weight.stored && a.B.weight.stored === b.B.weight.stored && a.scale === b.scale;

/** A factor in the layout of the flat state. */
function factorOf({ weight, layout, in: inputs, out }: Product, layer: Chosen['layer']): Float32Array {
  const values = floatsOf(weight.tensor);
  // PEFT's own layout for convolutions; [in, out] for all others.
  if (layerOp(layer.op).form === 'conv') return values;
  return layout === 'in_out' ? values : transposed(values, out, inputs);
}
