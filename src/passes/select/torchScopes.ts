/**
 * TorchScript's scopes. A node is named after the modules whose forward runs: `/encoder/layers.0/fc1/MatMul`. Such a
 * name differs from the module's path in two ways: a called nn.Sequential occurs again in the name of its child
 * (`/blocks/blocks.0`), and a module whose forward is not called is left out (OPT's `model`).
 */
import type { ParameterNames } from './parameterNames.ts';

/** The module's path. @param bias the module whose bias is added, which is exact if it fits the scopes. */
export function pathOfScopes(segments: readonly string[], names: ParameterNames, bias: string | undefined): string {
  const raw = segments.join('.');
  const path = withoutDoubled(segments, names);
  if (bias !== undefined && lastOf(bias) === lastOf(raw) && (isWithin(bias, raw) || isWithin(path, bias))) return bias;
  return withParents(path, names);
}

/** A segment that begins with the one before replaces it, unless the file has parameters of a module in between. */
function withoutDoubled(segments: readonly string[], names: ParameterNames): string {
  const path: string[] = [];
  let before: string | undefined;
  for (const segment of segments) {
    const kept = [...path, segment].join('.');
    const replaced = [...path.slice(0, -1), segment].join('.');
    const isDoubled = before !== undefined && segment.startsWith(`${before}.`);
    if (isDoubled && (names.has(replaced) || !names.has(kept))) path.pop();
    path.push(segment);
    before = segment;
  }
  return path.join('.');
}

/**
 * The path with the parents that no forward passed: those of the only parameters whose path ends as this one begins,
 * over at least two segments.
 */
function withParents(path: string, names: ParameterNames): string {
  for (let dot = path.lastIndexOf('.'); dot > 0; dot = path.lastIndexOf('.', dot - 1)) {
    const ancestor = path.slice(0, dot);
    if (names.has(ancestor) || !ancestor.includes('.')) return path;
    const [found, ...more] = names.endingIn(ancestor);
    if (more.length > 0) return path;
    if (found !== undefined) return found + path.slice(dot);
  }
  return path;
}

/** Whether the segments of one path occur in another in their order. */
function isWithin(part: string, whole: string): boolean {
  const rest = whole.split('.');
  return part.split('.').every((segment) => {
    const at = rest.indexOf(segment);
    rest.splice(0, at + 1);
    return at >= 0;
  });
}

const lastOf = (path: string): string => path.slice(path.lastIndexOf('.') + 1);
