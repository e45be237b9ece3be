/** Gradients use operators that every provider with the forward operator has, and none that computes wrongly. */
import { describe, expect, it } from 'vitest';
import { attrsOf } from '../../src/graph/operators.ts';
import { lacks } from '../../src/passes/providers/replacements.ts';
import { gradientNodes, title } from '../support/gradients/harness.ts';
import { allRows } from './all.rows.ts';

const notOnCuda = lacks('cuda');
/** Whose own operator is in the gradient, and only on the CPU as well. */
const cpuAnyway = new Set(['Cosh', 'CenterCropPad', 'AffineGrid', 'ReverseSequence', 'Det', 'DFT', 'STFT']);

describe('operators of the gradients', () => {
  it.each(allRows.filter((r) => r.refused === undefined).map((row) => [title(row), row] as const))('%s', (_, row) => {
    for (const node of gradientNodes(row)) {
      expect(node.domain, node.op).toBe('');
      if (!cpuAnyway.has(row.op)) expect(notOnCuda.has(node.op), node.op).toBe(false);
      // The CPU kernel adds from several threads without a lock (onnxruntime issue 23396).
      if (node.op === 'ScatterND') expect(attrsOf(node, 'ScatterND').reduction).toBe('none');
      // CUDA's kernel adds by element size: integers as floats.
      if (node.op === 'ScatterElements' && attrsOf(node, 'ScatterElements').reduction !== 'none')
        expect(['float32', 'float64']).toContain(node.inputs[0]?.dtype);
    }
  });
});
