/** Selects the layers with their rank, alpha and initial factors, from the options of compile and inspect. */

import { type OpenedAdapter, peftKeysText } from '../adapter/index.ts';
import { adapterMismatch, didYouMean, type LoraifyError, noTargets } from '../errors.ts';
import { defined } from '../formats/defined.ts';
import { matchingModule } from '../formats/peftPattern.ts';
import { type InitKind, type Scaling, scalings } from '../graph/choices/compile.ts';
import { layerOp, sizeOf, weightText } from '../graph/layers.ts';
import { graphsOf, type Layer, type Model, nameGiver, namesIn } from '../graph/model.ts';
import {
  type Candidate,
  type Candidates,
  type Chosen,
  foldedFrom,
  patternValue,
  selector,
  unmatched,
} from '../passes/index.ts';
import type { Selection } from './compiled.ts';
import { inline, startOf } from './initialFactors.ts';

export interface SelectOptions {
  readonly rank: number;
  readonly alpha: number;
  readonly scaling: Scaling;
  readonly init: InitKind;
  readonly seed: number;
  /** Weight-decomposed layers. */
  readonly dora: boolean;
  readonly target: readonly string[] | undefined;
  readonly exclude: readonly string[] | undefined;
  readonly layers: readonly number[] | undefined;
  readonly rankPattern: Readonly<Record<string, number>>;
  readonly alphaPattern: Readonly<Record<string, number>>;
}

/** alpha/r (Hu et al. 2021), alpha/sqrt(r) (Kalajdzievski 2023), or alpha itself. */
export const scaleOf = (scaling: Scaling, alpha: number, rank: number): number => scalings[scaling].factor(alpha, rank);

const needsTarget = 'only with --target';

/** Applies PEFT's selection rules. May select nothing. */
export function selectLayers(model: Model, candidates: readonly Candidate[], options: SelectOptions): Selection {
  // `all-linear` leaves out the layer that computes the model's output, as in PEFT, and layers that are not linear.
  const notLinear = new Set(
    candidates
      .filter(
        (c) =>
          !layerOp(c.op).byDefault ||
          c.products.some((p) => p.node.outputs.some((o) => model.graph.outputs.includes(o))),
      )
      .map((c) => c.path),
  );
  const select = selector({
    targets: options.target,
    exclude: options.exclude,
    layers: options.layers,
    outputLayers: notLinear,
  });
  const rankOf = patternValue(new Map(Object.entries(options.rankPattern)), options.rank, 'rank_pattern');
  const alphaOf = patternValue(new Map(Object.entries(options.alphaPattern)), options.alpha, 'alpha_pattern');
  const left = new Map<string, string>();
  const warnings: string[] = [];
  const names = nameGiver(namesIn(graphsOf(model)));
  const chosen = candidates.flatMap((candidate): Chosen[] => {
    const { path } = candidate;
    const verdict = options.target === undefined && !layerOp(candidate.op).byDefault ? needsTarget : select(path);
    if (verdict !== true) {
      left.set(path, verdict);
      return [];
    }
    const [rank, alpha] = [rankOf(path), alphaOf(path)];
    const inputs = candidate.in * sizeOf(candidate.kernel ?? []);
    if (rank > Math.min(inputs, candidate.out))
      warnings.push(`rank ${rank} of "${path}" is more than its weight [${inputs}, ${candidate.out}] can use`);
    if (candidate.folded !== undefined)
      warnings.push(`${foldedText(candidate.folded, path)}: the adapter does not act there. ${unfolded}`);
    const layer = layerOf(candidate, rank, alpha, scaleOf(options.scaling, alpha, rank), options.dora, names);
    return [{ candidate, layer, ...startOf(options, candidate, layer) }];
  });
  const paths = candidates.map((c) => c.path);
  for (const t of unmatched(options.target ?? [], paths))
    if (t.toLowerCase() !== 'all-linear') warnings.push(`target "${t}" matches no layer${didYouMean(t, paths)}`);
  return { chosen, left, warnings };
}

/** The error NO_TARGETS for an empty selection. */
export function nothingSelected({ left, warnings }: Selection, target: readonly string[] | undefined): LoraifyError {
  const targets = target === undefined ? '' : `: ${warnings.join('; ') || target.join(', ')}`;
  return noTargets(`none of the ${left.size} layers is selected${targets}`);
}

/** Takes layers, ranks, scales and content from an adapter. Throws ADAPTER_MISMATCH by name. */
export function selectFromAdapter(
  model: Model,
  { candidates, apart }: Pick<Candidates, 'candidates' | 'apart'>,
  adapter: OpenedAdapter,
  file: string,
): Selection {
  const names = nameGiver(namesIn(graphsOf(model)));
  const byCandidate = new Map<Candidate, string>();
  const missing: string[] = [];
  const computed = foldedFrom(model);
  const { layers, warnings } = adapter.layersFor(candidates);
  for (const [path, layer] of layers) {
    const alike = candidates.filter((c) => layerOp(c.op).form === layer.form);
    const found = matchingModule(alike, path) ?? matchingModule(candidates, path);
    const [constant] = computed.get(`${path}.weight`) ?? [];
    if (found === undefined && constant !== undefined)
      throw adapterMismatch(`the exporter folded layer "${path}" into the constant "${constant.name}"`, file, unfolded);
    if (found === undefined) missing.push(`${peftKeysText(path, layer.form)}${nearest(path, candidates)}`);
    else if (byCandidate.has(found))
      throw adapterMismatch(`"${path}" and "${byCandidate.get(found)}" both fit layer "${found.path}"`, file);
    else byCandidate.set(found, path);
  }
  if (missing.length > 0)
    throw adapterMismatch(
      `the model has no layer for ${missing.slice(0, 5).join('; ')}${missing.length > 5 ? ` and ${missing.length - 5} more` : ''}`,
      file,
      candidates.some((c) => c.from === 'fallback') ? unnamed : undefined,
    );
  const left = new Map<string, string>();
  const chosen = candidates.flatMap((candidate): Chosen[] => {
    const key = byCandidate.get(candidate);
    const found = key === undefined ? undefined : layers.get(key);
    if (found === undefined) {
      left.set(candidate.path, 'not in the adapter');
      return [];
    }
    const own = weightText({ ...candidate, form: layerOp(candidate.op).form });
    if (own !== weightText(found))
      throw adapterMismatch(
        `${peftKeysText(key ?? '', found.form)} are for a weight ${weightText(found)}, but layer "${candidate.path}" is ${own}`,
        file,
      );
    if (candidate.folded !== undefined)
      throw adapterMismatch(foldedText(candidate.folded, candidate.path), file, unfolded);
    const layer = layerOf(candidate, found.rank, found.alpha, found.scale, found.magnitude !== undefined, names);
    return [{ candidate, layer, peft: key, ...inline(layer, found) }];
  });
  checkAllUses(chosen, candidates, apart, file);
  const { rank = 1, alpha = 1 } = chosen[0]?.layer ?? {};
  return {
    chosen,
    left,
    warnings,
    settings: adapter.settings ?? { rank, alpha, scaling: 'standard', otherFields: {} },
  };
}

/** Refuses an adapter of a module of which only some uses in the file would get its branch. */
function checkAllUses(
  chosen: readonly Chosen[],
  candidates: readonly Candidate[],
  apart: Candidates['apart'],
  file: string,
): void {
  const taken = new Set(chosen.map((c) => c.candidate));
  for (const { candidate: c, layer } of chosen) {
    const other = candidates.find(
      (o) =>
        !taken.has(o) && o.module === c.module && o.from !== 'fallback' && layerOp(o.op).form === layerOp(c.op).form,
    );
    const node = other?.nodes[0] ?? apart.find((a) => a.stored === c.stored)?.node;
    if (node === undefined) continue;
    const how =
      other === undefined
        ? 'reads its weight as another matrix'
        : `reads another weight of that name, "${other.weight}"`;
    throw adapterMismatch(
      `the adapter is for every use of the module "${layer.path}", but node "${node}" ${how}`,
      file,
      'export the model again without quantizing or folding the uses of one module separately, or merge the adapter before the export',
    );
  }
}

const unnamed =
  'the file does not name the modules of its layers (loraify inspect shows them): simplifiers and optimizers drop names, so compile the file as the exporter wrote it, and optimize the merged model';

/** The reason why only a part of a layer's uses can get a branch. */
const foldedText = (constant: string, path: string): string =>
  `layer "${path}" is also applied to constants, and the exporter stored the result ("${constant}")`;
const unfolded = 'Export without constant folding (torch.onnx.export(..., optimize=False)) to adapt it there';

const nearest = (path: string, candidates: readonly Candidate[]): string =>
  didYouMean(
    path,
    candidates.map((c) => c.path),
  );

/** The layer of a candidate; `name` makes the names of A and B unique. */
export function layerOf(
  c: Candidate,
  rank: number,
  alpha: number,
  scale: number,
  dora: boolean,
  name: (wanted: string) => string,
): Layer {
  const { path, op, kernel, weight, layout } = c;
  return defined({
    path,
    op,
    kernel,
    weight,
    layout,
    in: c.in,
    out: c.out,
    rank,
    alpha,
    scale,
    A: name(`${path}.lora_A`),
    B: name(`${path}.lora_B`),
    magnitude: dora ? name(`${path}.lora_magnitude_vector`) : undefined,
  });
}
