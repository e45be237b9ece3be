/**
 * Names of modules in PEFT's files against the family that a config.json names. PEFT ignores a tensor whose module it
 * does not find: the adapter loads, and that part of it is missing.
 */
import { type Manifest, peftParameter, peftPath } from '../formats/manifest.ts';
import { type Family, type FamilyName, familyOf, placed, rootOf } from '../graph/families/families.ts';
import { packedPath } from '../graph/families/packedPaths.ts';

/** The module paths in a package's initial adapter. */
export function moduleNames({ layers, saved = [] }: Pick<Manifest, 'layers' | 'saved'>): string[] {
  return [...new Set([...layers.map(peftPath), ...saved.map((s) => moduleOf(peftParameter(s)))])];
}

/** The module of a parameter. */
export const moduleOf = (parameter: string): string => parameter.replace(/\.[^.]*$/, '');

/** The modules of the family that pack some of these, which it does not have itself. */
export function packedModulesOf(name: FamilyName | undefined, paths: Iterable<string>): Set<string> {
  const family = familyOf(name?.type);
  const isOwn = (path: string): boolean => family !== undefined && rootOf(family, path) !== undefined;
  const packed = [...paths].flatMap((path) => (isOwn(path) ? [] : (packedPath(path) ?? [])));
  return new Set(packed.filter(isOwn));
}

/** Sentences about those of these modules that PEFT would not find in a model of the family. */
export function ignoredModules(name: FamilyName | undefined, paths: readonly string[]): string[] {
  const family = familyOf(name?.type);
  if (family === undefined) return [];
  const theirs = `transformers' "${family.type}"`;
  const ignored = (some: readonly string[]): string =>
    `PEFT does not adapt ${listed(some)}, and ignores what is trained there`;
  const packed = packedModulesOf(name, paths);
  const isPart = (path: string): boolean => packed.has(packedPath(path) ?? '');
  const parts = paths.filter(isPart);
  const { root, unknown, apart } = placed(
    family,
    paths.filter((path) => !isPart(path)),
  );
  return [
    ...(parts.length === 0
      ? []
      : [
          `${listed(parts)} are parts of ${listed([...packed])} in ${theirs}: export --format peft writes those where all parts are trained`,
        ]),
    ...(unknown.length === 0
      ? []
      : [`${ignored(unknown)}: ${theirs}, which the config.json names, has no such modules`]),
    ...(apart.length === 0
      ? []
      : [`${ignored(apart)}: the other modules of ${theirs} are ${root === '' ? 'at the top' : `inside "${root}"`}`]),
  ];
}

/**
 * A sentence about names that begin otherwise than in the class that the config.json names: the base model was exported,
 * or a module around it.
 */
export function otherRoot(name: FamilyName | undefined, paths: readonly string[]): string[] {
  const family = familyOf(name?.type);
  if (family === undefined) return [];
  const { root } = placed(family, paths);
  const [body = ''] = family.bodies;
  const { architecture = 'Model' } = name ?? {};
  const isBody = /(?<!LMHead|DoubleHeads)Model$/.test(architecture);
  if (family.bodies.includes(root) || (root === '' && (isBody || body === ''))) return [];
  return root === ''
    ? [`the names are those of AutoModel: ${architecture} has "${body}." before them, which --prefix ${body} adds`]
    : [
        `the names begin with "${root}.", which transformers' "${family.type}" does not have: --prefix ${body || 'none'} gives those of its models`,
      ];
}

/** Paths with another beginning: `prefix` before the names of the body's modules; `none` is nothing. */
export function withPrefix(prefix: string | undefined, name: FamilyName | undefined): (path: string) => string {
  if (prefix === undefined) return (path) => path;
  const family: Family | undefined = familyOf(name?.type);
  const begin = prefix === 'none' ? '' : `${prefix}.`;
  return (path) => {
    if (family === undefined) return begin + path;
    const root = rootOf(family, path);
    return root === undefined ? path : begin + path.slice(root === '' ? 0 : root.length + 1);
  };
}

/** The first names of a list, and the number of the others. */
const listed = (paths: readonly string[]): string =>
  `${paths
    .slice(0, 3)
    .map((path) => `"${path}"`)
    .join(', ')}${paths.length > 3 ? ` and ${paths.length - 3} more` : ''}`;
