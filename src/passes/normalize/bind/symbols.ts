/** Replaces symbols of the source that have been resolved. */
import type { Dim, Model, Value } from '../../../graph/model.ts';

/** Replaces symbols with dims everywhere; inference is then repeated. In place. */
export function retype(model: Model, symbols: ReadonlyMap<string, Dim>): void {
  const settled = (d: Dim): Dim => {
    let at = d;
    // A resolved dim such as `past + sequence` may be a symbol that a file resolves: the chain is followed at most once
    // per symbol.
    for (let i = 0; typeof at === 'string' && i < symbols.size; i++) at = symbols.get(at) ?? at;
    return at;
  };
  changeLengths(model, settled);
}

/** Changes each dim of inputs and results, everywhere. In place. */
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
