/**
 * Decides whether an input is a cache. Its name alone is a proposal, because forecasting models call their data
 * `past_values` as well: a name that data may have needs evidence in the graph.
 */
import { type Graph, type Node, producersOf, type Value } from '../../../graph/model.ts';
import { kindOf } from '../../../graph/operators.ts';
import { pastInputs } from '../pastInputs.ts';
import { returnsCache } from './caches.ts';
import { tokensOf } from './ground.ts';
import { cacheKind, isCertain, isPresent, plainName } from './names.ts';
import { ruleFor } from './rules.ts';

/** The inputs that are caches; `free` are those that `--bind` does not name. */
export function cachesAmong(free: readonly Value[], graph: Graph): Value[] {
  const names = new Set(graph.inputs.map((v) => plainName(v.name)));
  // Unused inputs are removed from the training graphs anyway.
  const named = free.filter((v) => cacheKind(v.name) !== undefined && v.uses.size > 0);
  const certain = named.filter((v) => isCertain(v.name, names) || isAppendedTo(v) || isReturned(v, graph));
  // A model is trained on data: without another input that has any, these inputs are it.
  const isData = (v: Value): boolean =>
    v.uses.size > 0 && !certain.includes(v) && ruleFor(v) === undefined && !plainName(v.name).endsWith('mask');
  return tokensOf(graph.inputs) !== undefined || graph.inputs.some(isData) ? certain : [];
}

/** Whether an output returns the value for the next step. */
const isReturned = (v: Value, { outputs }: Graph): boolean =>
  outputs.some((o) => (isPresent(o.name) && o.shape?.length === v.shape?.length) || returnsCache(o, new Set([v])));

/** Whether an attention operator reads it as earlier keys or values, or keys or values are appended to it. */
function isAppendedTo(v: Value): boolean {
  return [...v.uses].some(({ node, index }) => {
    if (pastInputs(node)?.at.includes(index) === true) return true;
    if (kindOf(node) === 'scatter') return index === 0;
    if (node.domain === '' && node.op === 'Concat') return node.inputs.some((i) => i !== undefined && isProjected(i));
    const isPassedOn = kindOf(node) === 'view' || ['Cast', 'Transpose', 'Split'].includes(node.op);
    return isPassedOn && index === 0 && node.outputs.some(isAppendedTo);
  });
}

/** Whether a value is computed by a layer: new keys and values are, the next part of a series is data. */
function isProjected(v: Value): boolean {
  const seen = new Set<Node>();
  const pending = v.producer === undefined ? [] : [v.producer];
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    if (seen.has(node)) continue;
    seen.add(node);
    if (node.layer !== undefined || kindOf(node) === 'matmul') return true;
    pending.push(...producersOf(node));
  }
  return false;
}
