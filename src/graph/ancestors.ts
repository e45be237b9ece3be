/** Walks from a value to all that it is computed from. */
import { readsOf, type Value } from './model.ts';

/** The values, and all that they are computed from, including what bodies read. */
export function ancestorsOf(values: Iterable<Value>): Set<Value> {
  const found = new Set<Value>();
  const todo = [...values];
  for (let v = todo.pop(); v !== undefined; v = todo.pop()) {
    if (found.has(v)) continue;
    found.add(v);
    if (v.producer !== undefined) todo.push(...readsOf(v.producer));
  }
  return found;
}
