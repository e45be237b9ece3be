/** Replaces symbols by numbers. */
import { tensorType } from '../../../graph/model.ts';
import type { PassContext } from '../../common/pass.ts';
import { changeLengths } from '../../normalize/bind/symbols.ts';
import { evaluate, symbolsOf } from '../../shapes/dims.ts';
import type { Resolved } from './resolveLengths.ts';

export interface FixContext extends PassContext {
  readonly resolved: Resolved;
}

/** In place. Axes are those of the graph's inputs, which are found by name. */
export function substituteLengths({ model, resolved: { symbols, axes } }: FixContext): void {
  for (const { input, axis, length } of axes) {
    const v = model.graph.inputs.find((i) => i.name === input.name);
    if (v?.dtype !== undefined)
      v.type = tensorType(
        v.dtype,
        v.shape?.map((d, i) => (i === axis ? length : d)),
      );
  }
  // A dim that also depends on other symbols is inferred again.
  changeLengths(model, (d) =>
    typeof d === 'string' && symbolsOf(d).some((s) => symbols.has(s)) ? (evaluate(d, symbols) ?? null) : d,
  );
}
