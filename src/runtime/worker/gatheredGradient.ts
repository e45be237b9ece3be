/** Averages gradients of micro-batches over all their elements. */

export interface Gathered {
  /** @param weight the number of elements that the batch's mean runs over. */
  add(gradient: Float32Array, weight: number): void;
  /** Returns the mean and resets. Zeros if nothing was added. */
  take(): Float32Array;
  clear(): void;
}

/**
 * In float32 and in the order of train_k.onnx (sums of gradient times weight, divided once), so that both ways agree
 * bit by bit: a single batch's gradient is unchanged.
 */
export function gatheredGradient(size: number): Gathered {
  let sums: Float32Array = new Float32Array(size);
  let last: Float32Array = sums;
  let total = 0;
  let alone = true;
  const clear = (): void => {
    sums = new Float32Array(size);
    last = sums;
    total = 0;
    alone = true;
  };
  return {
    add(gradient, weight) {
      alone = total === 0;
      total = Math.fround(total + weight);
      last = gradient;
      for (let i = 0; i < size; i++) sums[i] = (sums[i] ?? 0) + Math.fround((gradient[i] ?? 0) * weight);
    },
    take() {
      const divisor = total === 0 ? 1 : total;
      const mean = alone ? last : sums.map((sum) => sum / divisor);
      clear();
      return mean;
    },
    clear,
  };
}
