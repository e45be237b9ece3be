/** The flat trainable state [P] of a package out of the tensors of its layers and of modules_to_save. */

/** The offset of a tensor in the vector, in elements. */
interface Place {
  readonly offset: number;
}

/** A layer of the manifest, or of a state layout. */
export interface LayerPlaces {
  readonly A: Place;
  readonly B: Place;
  readonly magnitude?: Place | undefined;
}

export interface LayerValues {
  readonly A: Float32Array;
  readonly B: Float32Array;
  readonly magnitude?: Float32Array | undefined;
}

/** B with a scale in it that its branch does not have otherwise. */
export const timesFactor = (B: Float32Array, factor: number): Float32Array =>
  factor === 1 ? B : B.map((x) => x * factor);

/**
 * Both lists are read once, in order. What they leave out is zero; a magnitude is left out where the layer has no place
 * for it.
 */
export function stateVector(
  size: number,
  layers: Iterable<readonly [LayerPlaces, LayerValues]>,
  saved: Iterable<readonly [Place, Float32Array]>,
): Float32Array {
  const state = new Float32Array(size);
  for (const [places, values] of layers) {
    state.set(values.A, places.A.offset);
    state.set(values.B, places.B.offset);
    if (places.magnitude !== undefined && values.magnitude !== undefined)
      state.set(values.magnitude, places.magnitude.offset);
  }
  for (const [{ offset }, values] of saved) state.set(values, offset);
  return state;
}
