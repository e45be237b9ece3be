/** The initial A and B of the layers, and the residual weight if the factors are a part of it. */
import { changesBase, initialFactors, setsBoth, weightFactors } from '../adapter/index.ts';
import { canMerge, mergedBlocks, outputLengths } from '../emit/index.ts';
import { badOption } from '../errors.ts';
import { defined } from '../formats/defined.ts';
import { bytesOf, floatsOf } from '../formats/rawTensor.ts';
import type { InitKind } from '../graph/choices/compile.ts';
import { factorMatrices, factorShapes, layerOp, transposed } from '../graph/layers.ts';
import type { Layer } from '../graph/model.ts';
import { floatTensor, rawByteLength, type Tensor } from '../graph/tensor.ts';
import { type LayerPlaces, type LayerValues, stateVector } from '../package/stateVector.ts';
import { type Candidate, type Chosen, isQuantized, type Product } from '../passes/index.ts';
import type { Compiled } from './compiled.ts';

export interface StartOptions {
  readonly init: InitKind;
  readonly seed: number;
  readonly dora: boolean;
}

type Start = Pick<Chosen, 'A' | 'B' | 'changed'>;
type WholeStart = Pick<Chosen, 'A' | 'B' | 'changed' | 'magnitude'>;

/**
 * Initial factors that depend on the weight are computed when they are first read, so inspect and a dry run need no
 * decomposition. Errors: BAD_OPTION if the layer does not support the init, and later if its weight is not finite.
 */
export function startOf(options: StartOptions, candidate: Candidate, layer: Layer): WholeStart {
  const start = factorsOf(options, candidate, layer);
  return options.dora ? { ...start, magnitude: magnitudeOf(candidate, layer, start) } : start;
}

/** The initial norms of the outputs' weights, the branch included: float32 [out]. */
function magnitudeOf({ products }: Candidate, layer: Layer, { A, B, changed }: Start): Tensor {
  const { path } = layer;
  const { form } = layerOp(layer.op);
  const [product] = products;
  const tensor = changed ?? product?.weight.tensor;
  if (tensor === undefined || isOpaque(product))
    throw badOption(
      `--dora: the weight of layer "${path}" is quantized, so the norms of its columns are not known`,
      'leave --dora or the layer out',
    );
  const lengths = (): Float32Array => {
    const { in: inputs, out, rank, kernel, scale, layout } = layer;
    const factors = factorMatrices({ form, in: inputs, out, rank, kernel, A: floatsOf(A), B: floatsOf(B) });
    return Float32Array.from(outputLengths(tensor, { ...factors, out, scale, layout }, path));
  };
  let made: Float32Array | undefined;
  return computed('float32', [layer.out], () => {
    made ??= lengths();
    return [bytesOf(made)];
  });
}

/** Whether the numbers of a layer's weight are not stored as floats that can be read and changed. */
const isOpaque = (product: Product | undefined): boolean =>
  product === undefined || isQuantized(product.weight) || !canMerge(product.weight.tensor.dtype);

function factorsOf({ init, seed }: StartOptions, candidate: Candidate, layer: Layer): Start {
  const { path, rank } = layer;
  const { form } = layerOp(layer.op);
  const refuse = (reason: string, hint: string): Error => badOption(`--init ${init}: ${reason}`, hint);
  if (form === 'conv' && setsBoth(init))
    throw refuse(
      `layer "${path}" is a convolution, which this init does not support (PEFT has the same limit)`,
      others,
    );
  if (init === 'orthogonal' && rank % 2 !== 0)
    throw refuse(`it needs an even rank, and layer "${path}" has rank ${rank}`, 'choose an even --rank');
  // PEFT initializes an embedding in its own way, whatever the init.
  if (!changesBase(init)) return inline(layer, initialFactors(init, layer, seed, path));
  if (form === 'embedding') return inline(layer, initialFactors('kaiming', layer, seed, path));
  const [product] = candidate.products;
  const tensor = product?.weight.tensor;
  if (product?.part !== undefined)
    throw refuse(
      `the weight of layer "${path}" is packed with those of other modules, so it cannot be changed alone`,
      product.part.aliases === undefined
        ? `${others}, or adapt the packed module as one layer: name it (qkv_proj, gate_up_proj) in --target`
        : others,
    );
  if (tensor === undefined || isOpaque(product))
    throw refuse(`the weight of layer "${path}" is quantized, so the factors cannot be subtracted from it`, others);
  if (layer.scale <= 0) throw refuse(`layer "${path}" has the scale ${layer.scale}, which must be positive`, others);
  return fromWeight(init, seed, layer, tensor);
}

const others = 'choose --init kaiming or gaussian, or leave the layer out';

function fromWeight(init: Parameters<typeof weightFactors>[0], seed: number, layer: Layer, tensor: Tensor): Start {
  const { path, rank, scale, layout, in: inputs, out } = layer;
  const make = () => weightFactors(init, { weight: matrixOf(init, tensor, layer), rank, scale, seed, path });
  let made: ReturnType<typeof make> | undefined;
  const factors = () => {
    made ??= make();
    return made;
  };
  const shapes = factorShapes(layer);
  return {
    A: computed('float32', shapes.A, () => [bytesOf(factors().A)]),
    B: computed('float32', shapes.B, () => [bytesOf(factors().B)]),
    changed: computed(tensor.dtype, tensor.dims, () =>
      mergedBlocks(tensor, [{ ...factors(), in: inputs, out, scale: -scale, layout }], path, layer.weight),
    ),
  };
}

/** A stored weight as W [out, in] in float32. */
function matrixOf(init: string, tensor: Tensor, { path, layout, in: inputs, out }: Layer) {
  const data = floatsOf(tensor);
  if (!data.every(Number.isFinite))
    throw badOption(`--init ${init}: the weight of layer "${path}" has values that are not finite`, others);
  return { rows: out, columns: inputs, data: layout === 'out_in' ? data : transposed(data, inputs, out) };
}

const computed = (dtype: Tensor['dtype'], dims: readonly number[], chunks: () => Iterable<Uint8Array>): Tensor => ({
  dtype,
  dims,
  byteLength: rawByteLength(dtype, dims),
  payload: { kind: 'computed', chunks },
});

/** Tensors of factors that are already computed. */
export function inline(
  layer: Layer,
  { A, B, magnitude: m }: { readonly A: Float32Array; readonly B: Float32Array; readonly magnitude?: Float32Array },
): WholeStart {
  const shapes = factorShapes(layer);
  return defined({
    A: floatTensor(shapes.A, A),
    B: floatTensor(shapes.B, B),
    magnitude: m && floatTensor([layer.out], m),
  });
}

/** The initial flat state. Factors that depend on the weight are computed here, one layer at a time. */
export function initialParams({
  selection,
  layout,
  saved,
}: Pick<Compiled, 'selection' | 'layout' | 'saved'>): Float32Array {
  function* layers(): Generator<readonly [LayerPlaces, LayerValues]> {
    for (const [i, places] of layout.slots.entries()) {
      const chosen = selection.chosen[i];
      if (chosen === undefined) continue;
      const { A, B, magnitude: m } = chosen;
      yield [places, { A: floatsOf(A), B: floatsOf(B), magnitude: m && floatsOf(m) }];
    }
  }
  const whole = layout.saved.flatMap((place, i) => {
    const tensor = saved[i]?.tensor;
    return tensor === undefined ? [] : [[place, floatsOf(tensor)] as const];
  });
  return stateVector(layout.size, layers(), whole);
}
