/**
 * Metrics of outputs that are compared element by element: regression, and binary labels. Streaming: memory in
 * proportion to the columns.
 */

/** Sums over batches; `values` and `labels` are elements in C order whose last axis has `columns` entries. */
export interface ElementMetrics<T> {
  /** Batches of different sizes are ignored. */
  add(values: ArrayLike<number>, labels: ArrayLike<number>): void;
  result(): T;
}

/**
 * Mean absolute error and coefficient of determination, as scikit-learn's mean_absolute_error and r2_score: the mean
 * over the columns; constant labels give 1 for exact predictions and else 0; fewer than two rows give NaN.
 */
export function regression(columns: number): ElementMetrics<{ readonly mae: number; readonly r2: number }> {
  // Welford's recurrence: sums of squares of large values would cancel.
  const of = Array.from({ length: columns }, () => ({ mean: 0, spread: 0, residual: 0 }));
  let rows = 0;
  let absolute = 0;
  return {
    add(values, labels) {
      if (values.length !== labels.length || values.length % columns !== 0) return;
      for (let i = 0; i < labels.length; i += columns) {
        rows += 1;
        for (const [j, column] of of.entries()) {
          const label = labels[i + j] ?? 0;
          const error = (values[i + j] ?? 0) - label;
          absolute += Math.abs(error);
          column.residual += error * error;
          const before = label - column.mean;
          column.mean += before / rows;
          column.spread += before * (label - column.mean);
        }
      }
    },
    result() {
      const score = ({ spread, residual }: { spread: number; residual: number }): number =>
        spread > 0 ? 1 - residual / spread : residual === 0 ? 1 : residual > 0 ? 0 : Number.NaN;
      const r2 = rows < 2 ? Number.NaN : of.reduce((sum, column) => sum + score(column), 0) / columns;
      return { mae: absolute / (rows * columns), r2 };
    },
  };
}

/**
 * Accuracy and F1 of binary labels, as scikit-learn's accuracy_score and f1_score. One column: F1 of the label 1.
 * Several: rows that are correct in all columns, and the mean F1 of the columns. A column with neither labels nor
 * predictions has F1 0.
 * @param threshold values above it are the prediction 1: 0 for logits, 0.5 for probabilities. Labels are 1 above 0.5.
 */
export function binary(
  columns: number,
  threshold: number,
): ElementMetrics<{ readonly accuracy: number; readonly f1: number }> {
  const of = Array.from({ length: columns }, () => ({ hits: 0, ones: 0 }));
  let rows = 0;
  let right = 0;
  return {
    add(values, labels) {
      if (values.length !== labels.length || values.length % columns !== 0) return;
      for (let i = 0; i < labels.length; i += columns) {
        rows += 1;
        let isRight = true;
        for (const [j, column] of of.entries()) {
          const predicted = (values[i + j] ?? 0) > threshold;
          const wanted = (labels[i + j] ?? 0) > 0.5;
          column.ones += Number(predicted) + Number(wanted);
          if (predicted && wanted) column.hits += 1;
          isRight &&= predicted === wanted;
        }
        if (isRight) right += 1;
      }
    },
    result() {
      const f1 = of.reduce((sum, { hits, ones }) => sum + (ones === 0 ? 0 : (2 * hits) / ones), 0) / columns;
      return { accuracy: right / rows, f1: rows === 0 ? Number.NaN : f1 };
    },
  };
}
