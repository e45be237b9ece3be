import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/**
 * Returns the compiled JavaScript of a module beside the caller's, for worker threads and child processes. When the
 * caller runs as TypeScript source (tests), it is the file in dist/ of the last build, because Node 20 cannot run the
 * sources themselves.
 * @param from import.meta.url of the caller.
 */
export function compiledFile(from: string, name: string): string {
  const beside = new URL(`./${name}.js`, from);
  if (!from.endsWith('.ts')) return fileURLToPath(beside);
  const file = fileURLToPath(beside).replace(/([/\\])src([/\\](?!.*[/\\]src[/\\]))/, '$1dist$2');
  if (!existsSync(file)) throw new Error(`${file} is missing: npm run build`);
  return file;
}
