/**
 * Files of the bundle (dist/bin) together with the code that V8 made of them when they were built, functions that ran then included:
 * a command that lives for a second otherwise spends a good part of it compiling itself. Node 22 keeps such code on its own
 * (module.enableCompileCache), Node 20 has vm.Script for it.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { constants, Script } from 'node:vm';

/** Code is for one version of V8 and one processor; V8 itself checks its version, its flags and the length of the source. */
const codeFolder = (folder: string): string => join(folder, 'code', `${process.version}-${process.arch}`);

/** Whether the build made code for this Node. */
export const hasCode = (folder: string): boolean => existsSync(codeFolder(folder));

export interface BundleFiles {
  /** The exports of a file of the bundle. */
  load(name: string): unknown;
  /** Writes the code of all files loaded so far. */
  save(): void;
}

/** Loads the CommonJS files of a folder as `require` does. Code that is missing or that V8 refuses is made anew. */
export function openBundle(folder: string): BundleFiles {
  const code = codeFolder(folder);
  const scripts = new Map<string, Script>();
  const modules = new Map<string, { exports: unknown }>();
  const load = (name: string): unknown => {
    const known = modules.get(name);
    if (known !== undefined) return known.exports;
    const filename = join(folder, name);
    const script = new Script(wrapped(readFileSync(filename, 'utf8')), {
      filename,
      cachedData: codeOf(join(code, name)),
      importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
    });
    scripts.set(name, script);
    const module = { exports: {} };
    modules.set(name, module);
    const own = createRequire(filename);
    const require = (id: string): unknown => (/^\.\/[^/]+\.js$/.test(id) ? load(id.slice(2)) : own(id));
    const run: unknown = script.runInThisContext();
    if (typeof run !== 'function') throw new Error(`${filename} is no function`);
    Reflect.apply(run, module.exports, [module.exports, require, module, filename, dirname(filename)]);
    return module.exports;
  };
  return {
    load,
    save() {
      mkdirSync(code, { recursive: true });
      for (const [name, script] of scripts) writeFileSync(join(code, name), script.createCachedData());
    },
  };
}

const wrapped = (source: string): string =>
  `(function (exports, require, module, __filename, __dirname) { ${source}\n})`;

function codeOf(file: string): Buffer | undefined {
  try {
    return readFileSync(file);
  } catch {
    return undefined;
  }
}
