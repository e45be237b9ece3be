/** Modules that pack others: one weight, whose columns are those of several modules. */

/** The modules of a packed one, in the order of its columns, by its name. */
const packings: ReadonlyMap<string, readonly string[]> = new Map([
  ['qkv_proj', ['q_proj', 'k_proj', 'v_proj']],
  ['gate_up_proj', ['gate_proj', 'up_proj']],
]);

/** The names of the modules whose weights the module of this path packs. */
export const packedNames = (path: string): readonly string[] =>
  packings.get(path.slice(path.lastIndexOf('.') + 1)) ?? [];

/** The path of the module that packs this one with others, if there is such a module. */
export function packedPath(path: string): string | undefined {
  const name = path.slice(path.lastIndexOf('.') + 1);
  const [packed] = [...packings].find(([, parts]) => parts.includes(name)) ?? [];
  return packed && path.slice(0, path.length - name.length) + packed;
}

/** The paths of the modules that the module of this path packs. */
export const partPaths = (path: string): string[] =>
  packedNames(path).map((name) => path.slice(0, path.lastIndexOf('.') + 1) + name);
