/**
 * Matches module paths: PEFT's rule for rank_pattern and alpha_pattern (peft/utils/other.py, get_pattern_key), and the
 * rule of this program for layers.
 */

import { packedModules } from '../graph/layers.ts';
import { prefixMatcher } from './pythonRegex.ts';

/**
 * A function from a module path to the value of the first key that matches it: `(.*\.)?(KEY)$` from the beginning, in
 * the order of the map; then a key that equals the path; else undefined.
 * @param what the table's name in messages: `rank_pattern`. Errors: BAD_PATTERN.
 */
export function patternTable<T>(patterns: ReadonlyMap<string, T>, what: string): (path: string) => T | undefined {
  const rules = [...patterns].map(([key, value]) => {
    const match = prefixMatcher(`(.*\\.)?(${key})$`, `the key of ${what} in`);
    return { match, value };
  });
  return (path) => rules.find(({ match }) => match(path) !== null)?.value ?? patterns.get(path);
}

/**
 * The layer with this path, or the only one of which one path is the other's suffix (exports add or drop a wrapper). A
 * part of a packed weight matches all names that such modules have.
 */
export function matching<T extends { readonly path: string; readonly op?: string }>(
  candidates: readonly T[],
  path: string,
): T | undefined {
  const named = (p: string, among: readonly T[]): T | undefined => only(among, (c) => c.path, p, '.');
  const found = named(path, candidates);
  const [, holder = '', last = ''] = /^(.*\.)?([^.]+)$/.exec(path) ?? [];
  const packed = candidates.filter((c) => c.op === 'Attention');
  const names = packedModules.find((m) => m.includes(last)) ?? [];
  return found ?? names.flatMap((name) => named(holder + name, packed) ?? [])[0];
}

/**
 * Wrappers that put a segment before the path of each module: PEFT, DataParallel, torch.compile, models with a head,
 * vision-language models and sentence-transformers.
 */
const outerWrapper =
  /^(?:base_model|model|module|_orig_mod|_fsdp_wrapped_module|language_model|text_model|auto_model|0)\./;
/** Wrappers of single modules. */
const innerWrapper = /(?:^|\.)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)(?=\.)/g;

/** The path of a module without the wrappers around it. */
function unwrapped(path: string): string {
  const inner = path.replace(innerWrapper, '').replace(/^\./, '');
  const rest = inner.replace(outerWrapper, '');
  return rest === inner ? inner : unwrapped(rest);
}

/** As `only` for paths, else the only item whose path is the same without wrappers. */
export function onlyModule<T>(items: readonly T[], nameOf: (item: T) => string, name: string): T | undefined {
  const found = only(items, nameOf, name, '.');
  if (found !== undefined) return found;
  const bare = unwrapped(name);
  const near = items.filter((item) => unwrapped(nameOf(item)) === bare);
  return near.length === 1 ? near[0] : undefined;
}

/** As `matching`, else the only layer whose path is the same without wrappers. */
export function matchingModule<T extends { readonly path: string; readonly op?: string }>(
  candidates: readonly T[],
  path: string,
): T | undefined {
  return matching(candidates, path) ?? onlyModule(candidates, (c) => c.path, path);
}

/** The item with this name, or the only one of which one name is the other's suffix after a separator. */
export function only<T>(
  items: readonly T[],
  nameOf: (item: T) => string,
  name: string,
  separator: string,
): T | undefined {
  const exact = items.find((c) => nameOf(c) === name);
  if (exact !== undefined) return exact;
  const near = items.filter((c) => nameOf(c).endsWith(separator + name) || name.endsWith(separator + nameOf(c)));
  return near.length === 1 ? near[0] : undefined;
}

/** The suffixes of a path, one after each dot. */
export function suffixes(path: string): string[] {
  const found: string[] = [];
  for (let dot = path.indexOf('.'); dot >= 0; dot = path.indexOf('.', dot + 1)) found.push(path.slice(dot + 1));
  return found;
}
