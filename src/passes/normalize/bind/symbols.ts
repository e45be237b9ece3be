/** Symbols of the source that turned out to be known. */
import type { Dim, Model, Value } from '../../../graph/model.ts';

/** Puts lengths in the place of symbols, everywhere; inference then says anew what follows from them. In place. */
export function retype(model: Model, symbols: ReadonlyMap<string, Dim>): void {
  const settled = (d: Dim): Dim => {
    let at = d;
    // `past + sequence` may be a length that a file fixes: a chain, as long as there are symbols.
    for (let i = 0; typeof at === 'string' && i < symbols.size; i++) at = symbols.get(at) ?? at;
    return at;
  };
  changeLengths(model, settled);
}

/** Each length of inputs and results changed, everywhere. In place. */
export function changeLengths(model: Model, settled: (d: Dim) => Dim): void {
  const change = (v: Value): void => {
    if (v.tensor !== undefined || v.type?.kind !== 'tensor') return;
    v.type = { ...v.type, shape: v.type.shape?.map(settled) };
    v.elements = undefined;
  };
  for (const graph of model.graph.allGraphs()) {
    for (const v of graph.inputs) change(v);
    for (const n of graph.nodes) for (const v of n.outputs) change(v);
  }
}
