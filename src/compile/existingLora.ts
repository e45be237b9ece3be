/** LoRA that the source already has: trained on, kept as it is, or refused (`--existing-lora`). */
import { existingLora as existingLoraError, type LoraifyError } from '../errors.ts';
import type { Model, Node } from '../graph/model.ts';
import { isFloat } from '../graph/tensor.ts';
import {
  type Candidate,
  type Candidates,
  type ExistingLora,
  findExistingLora,
  type LiftedLora,
  type LoraBranch,
  liftLora,
  peftNames,
} from '../passes/index.ts';
import type { ResolvedOptions } from './options.ts';

/** The LoRA of a source, and its use. */
export interface TreatedLora {
  /** Absent if the source has none. */
  readonly use: 'train' | 'keep' | undefined;
  /** The adapted modules, by their paths in PEFT's files. */
  readonly modules: readonly string[];
  /** The branches that were taken out, to be trained on. */
  readonly lifted: readonly LiftedLora[];
  /** The nodes of kept LoRA, which is not adapted itself, with the reason. */
  readonly kept: ReadonlyMap<Node, string>;
  /** The path of a module in PEFT's files. */
  readonly peftName: (path: string) => string;
  /** Whether the file has a module as a copy that PEFT trained in full (modules_to_save). */
  readonly isSaved: (path: string) => boolean;
}

/**
 * Finds LoRA in a source and, unless it is kept, takes it out. `readOnly`: what cannot be trained on is kept, and
 * `warn` gets the reason. In place. Errors: EXISTING_LORA.
 */
export function treatExistingLora(model: Model, options: ResolvedOptions, warn?: (text: string) => void): TreatedLora {
  const { nameOf: peftName, isSaved } = peftNames(model);
  const found = findExistingLora(model);
  const { branches, others } = found;
  const none = { lifted: [], kept: new Map<Node, string>(), peftName, isSaved };
  if (branches.length === 0 && others.length === 0) return { ...none, use: undefined, modules: [] };
  const modules = [...new Set([...branches.map((b) => peftName(b.module)), ...others.map((o) => peftName(o.module))])];
  const failed = options.existingLora === 'keep' ? undefined : refusal(found, modules, options);
  if (failed !== undefined && warn === undefined) throw failed;
  if (failed !== undefined) warn?.(failed.message);
  if (options.existingLora === 'keep' || failed !== undefined)
    return { ...none, use: 'keep', modules, kept: keptNodes(found, peftName) };
  return { ...none, use: 'train', modules, lifted: liftLora(model, branches) };
}

/** The reason why the LoRA of a source cannot be trained on. */
function refusal(
  { branches, others }: ExistingLora,
  modules: readonly string[],
  options: ResolvedOptions,
): LoraifyError | undefined {
  const shown = `${modules.slice(0, 3).join(', ')}${modules.length > 3 ? ` and ${modules.length - 3} more` : ''}`;
  const has = `the model already has LoRA on ${shown}`;
  if (options.existingLora === 'refuse')
    return existingLoraError(
      `${has} (--existing-lora refuse)`,
      undefined,
      'use --existing-lora train or keep, or merge the adapter before the export',
    );
  const [other] = others;
  if (other !== undefined)
    return existingLoraError(
      `${has}, and that on "${other.module}" cannot be trained on: ${other.reason}`,
      other.node.label,
    );
  for (const b of branches) {
    const reason = unusable(b, branches);
    if (reason !== undefined) return existingLoraError(`${has}, which cannot be trained on: ${reason}`, b.sum.label);
  }
  const given = contradicts(options);
  return given === undefined
    ? undefined
    : existingLoraError(
        `${has}, which would be trained on, but ${given}`,
        undefined,
        'leave the option out to train on; with --existing-lora keep new branches are trained beside it; to start from merged weights, compile without the option, run loraify merge, and compile the merged file',
      );
}

function unusable({ base, A, B }: LoraBranch, all: readonly LoraBranch[]): string | undefined {
  if (all.some((o) => o.base.node === base.node && o.B.node !== B.node))
    return `several branches add to node "${base.node.label}"`;
  const packed = [A, B].find((p) => !isFloat(p.weight.tensor.dtype));
  return packed && `its factor "${packed.weight.stored.name}" is stored as ${packed.weight.tensor.dtype}`;
}

/** An option that sets what the LoRA of the file decides. */
function contradicts({ adapter, target, exclude, layers, dora, init, ...rest }: ResolvedOptions): string | undefined {
  if (adapter !== undefined) return '--adapter brings another one';
  if (target !== undefined) return '--target chooses modules';
  if (exclude !== undefined) return '--exclude chooses modules';
  if (layers !== undefined) return '--layers chooses modules';
  if (Object.keys({ ...rest.rankPattern, ...rest.alphaPattern }).length > 0)
    return 'a pattern sets its ranks or alphas';
  if (dora) return '--dora starts new layers';
  return init === 'kaiming' || init === 'kaiming-rank' || init === 'gaussian'
    ? undefined
    : `--init ${init} sets A and B`;
}

function keptNodes({ branches, others }: ExistingLora, peftName: (path: string) => string): Map<Node, string> {
  const kept = new Map<Node, string>();
  const reason = (module: string): string => `part of the LoRA on "${peftName(module)}", which is kept`;
  for (const b of branches) for (const { node } of [b.A, b.B]) kept.set(node, reason(b.module));
  for (const o of others) kept.set(o.node, reason(o.module));
  return kept;
}

/** The candidates without the factors of kept LoRA, which are skipped with the reason. */
export function withoutKept(found: Candidates, { kept }: TreatedLora): Candidates {
  if (kept.size === 0) return found;
  const isKept = (c: Candidate): boolean => c.products.every((p) => kept.has(p.node));
  const skipped = found.candidates
    .filter(isKept)
    .flatMap((c) =>
      c.products.map(({ node }, i) => ({ node: c.nodes[i] ?? node.label, op: c.op, reason: kept.get(node) ?? '' })),
    );
  return {
    ...found,
    candidates: found.candidates.filter((c) => !isKept(c)),
    skipped: [...found.skipped, ...skipped],
  };
}

/** The entry of manifest and inspection. */
export const existingOf = ({ use, modules }: TreatedLora): { use: 'train' | 'keep'; modules: string[] } | undefined =>
  use && { use, modules: [...modules] };
