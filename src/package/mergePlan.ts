/** Plans a merge: which tensors of the source change, and which readers get a changed copy. */
import type { PeftLayer } from '../adapter/index.ts';
import type { Bypass, Delta, UntieChange, WeightChange } from '../emit/index.ts';
import { mergeMismatch, notMergeable } from '../errors.ts';
import type { Manifest, ManifestLayer } from '../formats/manifest.ts';
import { factorMatrices, transposed } from '../graph/layers.ts';
import { graphsOf, type Model, type Node, nameGiver, namesIn, type Value } from '../graph/model.ts';
import { bytesOf, type Tensor } from '../graph/tensor.ts';
import { type Candidate, isQuantized, type JoinedCopy, type Product } from '../passes/index.ts';
import { typedTensor } from './modulesToSave.ts';
import { likeCompile, packageCandidates, packageParameters } from './open.ts';

/** The adapter's layers by path, and its modules_to_save weights by name. */
export type MergedLayers = ReadonlyMap<string, PeftLayer>;
export type SavedValues = ReadonlyMap<string, Float32Array>;

export interface MergePlan {
  readonly edits: readonly WeightChange[];
  readonly unties: readonly UntieChange[];
  /** Branches of the source that are left out. */
  readonly bypasses: readonly Bypass[];
  /** The number of layers that are merged. */
  readonly layers: number;
}

/** `model` is the source, which is changed as in its compile. Errors: BAD_PACKAGE, NOT_MERGEABLE, MERGE_MISMATCH. */
export function planMerge(model: Model, manifest: Manifest, adapter: MergedLayers, saved: SavedValues): MergePlan {
  const freshName = nameGiver(namesIn(graphsOf(model)));
  const { copies, lifted } = likeCompile(model, manifest);
  const edits: WeightChange[] = [];
  const unties: UntieChange[] = [];
  let layers = 0;
  for (const { layer, candidate } of packageCandidates(model, manifest)) {
    const [product] = candidate.products;
    const change = adapter.get(layer.path);
    if (product === undefined || change === undefined) continue;
    layers++;
    const { tensor } = product.weight;
    if (isQuantized(product.weight))
      throw notMergeable(layer.path, `its weight "${layer.weight}" is quantized (${tensor.dtype})`);
    const readers = readersOf(candidate, copies);
    for (const place of placesOf(candidate.stored, tensor, copies)) {
      const delta = { ...deltaOf(layer, change, place.transposed), part: product.part };
      const edit = { layer: layer.path, weight: place.name, tensor: place.tensor, delta };
      const uses = place.uses.filter((u) => readers.some((r) => r.node === u.node && r.input === u.input));
      if (uses.length === place.uses.length && !model.graph.outputs.includes(candidate.stored)) edits.push(edit);
      else if (product.part !== undefined)
        throw notMergeable(
          layer.path,
          `its weight "${place.name}" is shared with other modules, and other operators read it`,
        );
      else if (uses.length > 0) unties.push({ ...edit, name: freshName(`${place.name}.merged`), uses });
    }
  }
  for (const { saved: s, parameter } of packageParameters(model, manifest)) {
    const values = saved.get(s.name);
    if (values === undefined) continue;
    const { value, tensor, path } = parameter;
    if (!values.every(Number.isFinite)) throw mergeMismatch(`"${path}" of the adapter has values that are not finite`);
    for (const place of placesOf(value, tensor, copies)) {
      const { dims, dtype } = place.tensor;
      const [rows = 1, columns = 1] = tensor.dims;
      const content = bytesOf(typedTensor(dtype, dims, place.transposed ? transposed(values, rows, columns) : values));
      const edit = { layer: path, weight: place.name, tensor: place.tensor, content };
      const read = (use: SourceUse): boolean =>
        parameter.uses.some((u) => (u.node === use.node && u.index === use.input) || reads(copies, u.node, use));
      const uses = place.uses.filter(read);
      if (uses.length === place.uses.length && !model.graph.outputs.includes(value)) edits.push(edit);
      else if (uses.length > 0) unties.push({ ...edit, name: freshName(`${place.name}.merged`), uses });
    }
  }
  const bypasses = lifted.map(({ branch: { sum, keep }, dead, weights }) => ({
    sum,
    keep,
    dead,
    weights: weights.flatMap((v) => [v.tensor ?? [], ...copies.flatMap((c) => (c.of === v ? [c.tensor] : []))].flat()),
  }));
  return { edits, unties, bypasses, layers };
}

interface SourceUse {
  readonly node: Node;
  readonly input: number;
}

/** A tensor of the source that holds a weight, with its readers in the source. */
interface Place {
  readonly name: string;
  readonly tensor: Tensor;
  /** The tensor is the transpose of the weight. */
  readonly transposed: boolean;
  readonly uses: readonly SourceUse[];
}

/** The weight's own tensor, and its copies. */
function placesOf(value: Value, tensor: Tensor, copies: readonly JoinedCopy[]): Place[] {
  const repeated = copies.filter((c) => c.of === value);
  const foreign = repeated.flatMap((c) => (c.through === undefined ? c.uses : [{ node: c.through, index: 0 }]));
  const own = [...value.uses].filter((u) => !foreign.some((f) => f.node === u.node && f.index === u.index));
  const usesOf = (list: readonly { readonly node: Node; readonly index: number }[]): SourceUse[] =>
    list.map(({ node, index }) => ({ node, input: index }));
  return [
    { name: value.name, tensor, transposed: false, uses: usesOf(own) },
    ...repeated.map((c) => ({
      name: c.value.name,
      tensor: c.tensor,
      transposed: c.transposed,
      uses: usesOf(c.uses),
    })),
  ];
}

/** Whether `node` transposes the weight for a use of a copy. */
const reads = (copies: readonly JoinedCopy[], node: Node, use: SourceUse): boolean =>
  copies.some((c) => c.through === node && c.uses.some((u) => u.node === use.node && u.index === use.input));

const deltaOf = ({ layout, out }: ManifestLayer, change: PeftLayer, flipped: boolean): Delta => ({
  ...factorMatrices(change),
  magnitude: change.magnitude,
  scale: change.scale,
  layout: flipped ? (layout === 'in_out' ? 'out_in' : 'in_out') : layout,
  out,
});

/** The inputs through which the layer reads its weight, in the source: those of a copy are its own readers. */
function readersOf(candidate: Candidate, copies: readonly JoinedCopy[]): SourceUse[] {
  return readers(candidate).flatMap((r) => {
    const copy = copies.find((c) => c.through === r.node);
    return copy === undefined ? [r] : copy.uses.map(({ node, index }) => ({ node, input: index }));
  });
}

/**
 * The inputs through which the layer reads the stored weight: of the first node of the chain, of the layer's node, or
 * of a call that passes it on.
 */
function readers(candidate: Candidate): { node: Node; input: number }[] {
  const found: { node: Node; input: number }[] = [];
  const refuse = (where: string): Error => notMergeable(candidate.path, `another operator reads its weight ${where}`);
  for (const product of candidate.products) {
    const { chain } = product.weight;
    if (chain.flatMap((n) => n.outputs).some((v) => leadsElsewhere(v, candidate)))
      throw refuse('through the same Transpose, Reshape or Cast');
    const reader = readerOf(product, candidate.stored);
    const call = product.calls.find((c) => c.node === reader.node);
    const handed = call?.fn.body.inputs[reader.input];
    if (handed !== undefined && leadsElsewhere(handed, candidate)) throw refuse(`in function "${call?.fn.name}"`);
    if (!found.some((r) => r.node === reader.node && r.input === reader.input)) found.push(reader);
  }
  return found;
}

/** The node that reads `stored` by its own name: functions get it as an argument, perhaps through other functions. */
function readerOf({ node: product, weight: { chain }, calls }: Product, stored: Value): { node: Node; input: number } {
  const first = chain[0] ?? product;
  for (const [at, operand] of first.inputs.entries()) {
    let [value, reader] = [operand, { node: first, input: at }];
    while (value !== undefined && value !== stored) {
      const body = value;
      const call = calls.find((c) => c.fn.body.inputs.includes(body));
      if (call === undefined) break;
      const input = call.fn.body.inputs.indexOf(body);
      [value, reader] = [call.node.inputs[input], { node: call.node, input }];
    }
    if (value === stored) return reader;
  }
  throw new Error(`"${first.label}" does not read "${stored.name}"`);
}

/** Whether another node reads a value between the weight and the layer, here or in a function that gets it. */
const leadsElsewhere = (v: Value, c: Candidate): boolean =>
  [...v.uses].some(({ node, index }) => {
    if (c.products.some((p) => p.node === node || p.weight.chain.includes(node))) return false;
    const inner = c.products.flatMap((p) => p.calls).find((call) => call.node === node)?.fn.body.inputs[index];
    return inner === undefined || leadsElsewhere(inner, c);
  });
