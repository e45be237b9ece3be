/**
 * Selects the module paths of an adapter: PEFT's rules (peft/tuners/tuners_utils.py, check_target_module_exists), on
 * lists that may also contain `/regular expressions/`.
 */

import { badOption } from '../../errors.ts';
import { patternTable, suffixes } from '../../formats/peftPattern.ts';
import { fullMatcher, prefixMatcher } from '../../formats/pythonRegex.ts';

export interface SelectionOptions {
  /**
   * A list of exact paths, suffixes after a dot and `/full-match expressions/`, or one expression as a string (PEFT's
   * form). `all-linear`, alone or in a list: every path but those in `outputLayers`. Absent: every path.
   */
  readonly targets?: readonly string[] | string | undefined;
  /** The same forms; takes precedence over targets. */
  readonly exclude?: readonly string[] | string | undefined;
  /**
   * PEFT's layers_to_transform. An exact path among the targets is selected whatever its index, as in PEFT. Empty: no
   * limit.
   */
  readonly layers?: readonly number[] | undefined | undefined;
  /** PEFT's layers_pattern: the segment before the index, as an expression. Absent or empty: any segment. */
  readonly layersPattern?: readonly string[] | undefined | undefined;
  /** Paths that produce the model's output, which `all-linear` leaves out. */
  readonly outputLayers?: ReadonlySet<string> | undefined | undefined;
}

/** true, or the reason why the path is not selected, as a phrase. */
export type Selected = true | string;

/**
 * A function that decides for a module path whether it is selected. Errors: BAD_PATTERN; BAD_OPTION for a negative or
 * fractional layer index.
 */
export function selector(options: SelectionOptions): (path: string) => Selected {
  const target = options.targets === undefined ? undefined : matcher(options.targets, 'target', options.outputLayers);
  const exclude = options.exclude === undefined ? undefined : matcher(options.exclude, 'exclude', undefined);
  const layers = options.layers ?? [];
  const wrong = layers.find((n) => !Number.isSafeInteger(n) || n < 0);
  if (wrong !== undefined) throw badOption(`a layer index must be an integer from 0, not ${wrong}`);
  const indexOf = layerIndex(options.layersPattern ?? []);

  return (path) => {
    if (exclude?.(path) !== undefined) return 'excluded';
    const hit = target === undefined ? 'rule' : target(path);
    if (hit === undefined) return 'not a target';
    if (hit === 'exact' || layers.length === 0) return true;
    const index = indexOf(path);
    if (index === undefined) return 'has no layer index';
    return layers.includes(index) || `layer ${index} is not among the layers chosen`;
  };
}

/** The paths that the names of a target list select; its expressions and `all-linear` name no module. */
export function namedPaths(targets: readonly string[]): { has(path: string): boolean } {
  const names = new Set(targets);
  return { has: (path) => names.has(path) || suffixes(path).some((suffix) => names.has(suffix)) };
}

/**
 * The items of a target or exclude list that match none of the paths: almost always a misspelling. Errors: BAD_PATTERN.
 */
export function unmatched(list: readonly string[] | string, paths: Iterable<string>): string[] {
  const all = [...paths];
  const items = typeof list === 'string' ? [`/${list}/`] : list;
  return items.filter((item) => {
    const match = matcher([item], 'target', undefined);
    return !all.some((path) => match(path) !== undefined);
  });
}

/**
 * Rank or alpha of a path: PEFT's rank_pattern / alpha_pattern in their order, else `fallback`. Errors: BAD_PATTERN.
 */
export function patternValue(
  patterns: ReadonlyMap<string, number>,
  fallback: number,
  what: 'rank_pattern' | 'alpha_pattern',
): (path: string) => number {
  const lookUp = patternTable(patterns, what);
  return (path) => lookUp(path) ?? fallback;
}

type Hit = 'exact' | 'rule' | undefined;

function matcher(
  list: readonly string[] | string,
  what: string,
  outputLayers: ReadonlySet<string> | undefined,
): (path: string) => Hit {
  const inner = (path: string): Hit => (outputLayers?.has(path) ? undefined : 'rule');
  if (typeof list === 'string') {
    if (list.toLowerCase() === 'all-linear') return inner;
    const match = fullMatcher(list, what);
    return (path) => (match(path) ? 'rule' : undefined);
  }
  const isExpression = (item: string): boolean => item.length > 2 && item.startsWith('/') && item.endsWith('/');
  const expressions = list.filter(isExpression).map((item) => fullMatcher(item.slice(1, -1), what));
  const names = new Set(list.filter((item) => !isExpression(item) && item.toLowerCase() !== 'all-linear'));
  const allLinear = list.some((item) => item.toLowerCase() === 'all-linear');
  return (path) => {
    if (names.has(path)) return 'exact';
    if (suffixes(path).some((suffix) => names.has(suffix))) return 'rule';
    if (expressions.some((match) => match(path))) return 'rule';
    return allLinear ? inner(path) : undefined;
  };
}

/** The first numbered segment, or the one after the first layers_pattern that matches. */
function layerIndex(patterns: readonly string[]): (path: string) => number | undefined {
  const sources =
    patterns.length === 0
      ? ['.*?\\.[^.]*\\.(?P<idx>\\d+)\\.']
      : patterns.map((pattern) => `(?:^|.*?\\.)${pattern}\\.(?P<idx>\\d+)\\.`);
  const matchers = sources.map((source) => prefixMatcher(source, 'the layers pattern in'));
  return (path) => {
    for (const match of matchers) {
      const found = match(path);
      if (found !== null) {
        const index = found.groups?.idx;
        return index === undefined ? undefined : Number(index);
      }
    }
    return undefined;
  };
}
