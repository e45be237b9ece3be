import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/**
 * The compiled JavaScript of a module of this folder, for threads and processes of their own: beside the caller, or, where the
 * caller runs as TypeScript source (tests), in dist/ of the last build. Node 20 cannot run the sources themselves.
 * @param from import.meta.url of the caller.
 */
export function compiledFile(from: string, name: string): string {
  const isSource = from.endsWith('.ts');
  const file = fileURLToPath(new URL(isSource ? `../../dist/runtime/${name}.js` : `./${name}.js`, from));
  if (isSource && !existsSync(file)) throw new Error(`${file} is missing: npm run build`);
  return file;
}
