// Part of the build: writes dist/manifest.schema.json from the compiled schema.
import { writeFileSync } from 'node:fs';
import { manifestJsonSchema } from '../dist/formats/manifest.js';

const text = `${JSON.stringify(manifestJsonSchema(), undefined, 2)}\n`;
writeFileSync(new URL('../dist/manifest.schema.json', import.meta.url), text);
