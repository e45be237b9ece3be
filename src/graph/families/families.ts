/** The families of transformers' models, by model_type: the modules that PEFT finds in them. */
import { familyModules } from './familyModules.ts';

/** A family as a config.json names it. */
export interface FamilyName {
  /** model_type, or the type of onnxruntime-genai. */
  readonly type: string;
  /** The first of architectures. */
  readonly architecture?: string | undefined;
}

export interface Family {
  readonly type: string;
  /** The names of the body in models with a head; '' where its modules are beside the head. */
  readonly bodies: readonly string[];
  /** Whether the body has a module of this path. */
  readonly has: (path: string) => boolean;
  /** Whether a model with a head has this module beside the body. */
  readonly hasBeside: (path: string) => boolean;
}

/** Types of onnxruntime-genai whose modules are those of another type of transformers. */
const sameModules: Readonly<Record<string, string>> = {
  phi3v: 'phi3',
  phi4mm: 'phi4_multimodal',
  phimm: 'phi4_multimodal',
};

/** Undefined for a family that the table lacks. */
export function familyOf(type: string | undefined): Family | undefined {
  if (type === undefined) return undefined;
  const wanted = sameModules[type] ?? type;
  for (const line of familyModules.trim().split('\n')) {
    const [types = '', bodies = '', inner = '', outer = ''] = line.split(';').map((column) => column.trim());
    if (!types.split(' ').includes(wanted)) continue;
    const names = bodies.split(' ').filter((b) => b !== '');
    return {
      type,
      bodies: names.map((b) => (b === '-' ? '' : b)),
      has: matcher(inner),
      hasBeside: matcher(outer),
    };
  }
  return undefined;
}

/** A test for paths of the patterns of a column. */
function matcher(column: string): (path: string) => boolean {
  const known = new Set(
    column
      .split(' ')
      .filter((pattern) => pattern !== '')
      .flatMap((pattern) => {
        const dot = pattern.lastIndexOf('.') + 1;
        const names = pattern.slice(dot).split('|');
        return names.map((name) => pattern.slice(0, dot) + name);
      }),
  );
  return (path) => known.has(path.replaceAll(/(?<![^.])\d+(?![^.])/g, '*'));
}

/** The names of modules, compared with those of a family. */
export interface Placed {
  /** The beginning that most modules of the body have: `bert`, `0.auto_model`, or nothing. */
  readonly root: string;
  /** Paths that end in no module of the family. */
  readonly unknown: readonly string[];
  /** Paths of the body with another root. */
  readonly apart: readonly string[];
}

export function placed(family: Family, paths: readonly string[]): Placed {
  const roots = paths.map((path) => rootOf(family, path));
  const counts = new Map<string, number>();
  for (const root of roots) if (root !== undefined) counts.set(root, (counts.get(root) ?? 0) + 1);
  const [root = ''] = [...counts].reduce<readonly [string?, number?]>((m, c) => (c[1] > (m[1] ?? 0) ? c : m), []);
  const isBeside = (path: string): boolean => suffixOf(path, family.hasBeside) !== undefined;
  return {
    root,
    unknown: paths.filter((path, i) => roots[i] === undefined && !isBeside(path)),
    apart: paths.filter((path, i) => roots[i] !== undefined && roots[i] !== root && !isBeside(path)),
  };
}

/** The beginning of a path before the name of a module of the body; undefined for other modules. */
export function rootOf(family: Family, path: string): string | undefined {
  const inside = suffixOf(path, family.has);
  return inside === undefined ? undefined : path.slice(0, path.length - inside.length).replace(/\.$/, '');
}

/** The longest end of a path, from a segment on, that passes a test. */
function suffixOf(path: string, test: (path: string) => boolean): string | undefined {
  for (let from = 0; ; from = path.indexOf('.', from) + 1) {
    if (test(path.slice(from))) return path.slice(from);
    if (!path.includes('.', from)) return undefined;
  }
}
