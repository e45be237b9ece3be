/** The package's own version, from its package.json. */
import { readFileSync } from 'node:fs';

/** The places above src/ and dist/, and above dist/bin/, the location of the bundled command line. */
const places = ['../package.json', '../../package.json'];

export const version: string = places.map(versionIn).find((v) => v !== undefined) ?? '0.0.0';

function versionIn(place: string): string | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(readFileSync(new URL(place, import.meta.url), 'utf8'));
  } catch {
    return undefined;
  }
  if (typeof parsed !== 'object' || parsed === null || !('name' in parsed) || parsed.name !== 'loraify')
    return undefined;
  return 'version' in parsed && typeof parsed.version === 'string' ? parsed.version : undefined;
}
