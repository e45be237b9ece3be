/**
 * Files of the bundle (dist/bin) together with the code that V8 made of them when they were built, functions that ran
 * then included: a command that lives for a second otherwise spends a good part of it compiling itself. Node 22 keeps
 * such code on its own (module.enableCompileCache), Node 20 has vm.Script for it.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Script } from 'node:vm';

/** Code is for one version of Node and one kind of processor; V8 itself checks its version and its flags. */
const codeFolder = (folder: string): string => join(folder, 'code', `${process.version}-${process.arch}`);

/** Whether the build made code for this Node. */
export const hasCode = (folder: string): boolean => existsSync(codeFolder(folder));

export interface BundleFiles {
  /** The exports of a file of the bundle. */
  load(name: string): unknown;
  /** Those of them whose code was there and was taken. */
  readonly ready: ReadonlySet<string>;
  /** Writes the code of all files loaded so far. */
  save(): void;
}

/** Loads the CommonJS files of a folder as `require` does. Code that is missing or that V8 refuses is made anew. */
export function openBundle(folder: string): BundleFiles {
  const code = codeFolder(folder);
  const scripts = new Map<string, { readonly source: Buffer; readonly script: Script }>();
  const modules = new Map<string, { exports: unknown }>();
  const ready = new Set<string>();
  const load = (name: string): unknown => {
    const known = modules.get(name);
    if (known !== undefined) return known.exports;
    const filename = join(folder, name);
    const source = readFileSync(filename);
    const script = new Script(`(function (exports, require, module, __filename, __dirname) { ${source}\n})`, {
      filename,
      cachedData: codeOf(join(code, name), source),
    });
    scripts.set(name, { source, script });
    if (script.cachedDataRejected === false) ready.add(name);
    const module = { exports: {} };
    modules.set(name, module);
    const own = createRequire(filename);
    const require = (id: string): unknown => (/^\.\/[^/]+\.js$/.test(id) ? load(id.slice(2)) : own(id));
    const run: unknown = script.runInThisContext();
    if (typeof run !== 'function') throw new Error(`${filename} is not a function`);
    Reflect.apply(run, module.exports, [module.exports, require, module, filename, dirname(filename)]);
    return module.exports;
  };
  return {
    load,
    ready,
    save() {
      mkdirSync(code, { recursive: true });
      for (const [name, { source, script }] of scripts) {
        const made = script.createCachedData();
        writeFileSync(join(code, name), Buffer.concat([digest(source, made), made]));
      }
    },
  };
}

/**
 * V8 believes what it reads: of damaged code, or of code for another source of the same length, it would run what
 * comes.
 */
function codeOf(file: string, source: Buffer): Buffer | undefined {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch {
    return undefined;
  }
  const made = bytes.subarray(digestBytes);
  return bytes.subarray(0, digestBytes).equals(digest(source, made)) ? made : undefined;
}

const digestBytes = 32;
const digest = (source: Buffer, made: Buffer): Buffer => createHash('sha256').update(source).update(made).digest();
