/** The tokenizers of fixtures/text as folders on the disk. */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { z } from 'zod';

const recorded = z.object({ files: z.record(z.string(), z.string()) });

/** What fixtures/text/make.py recorded of a tokenizer. */
export function recordedTokenizer(kind: string): unknown {
  return JSON.parse(gunzipSync(readFileSync(`fixtures/text/${kind}.json.gz`)).toString('utf8'));
}

/** Writes the files of a tokenizer below a folder, and returns their own folder. @param template its chat template. */
export function writeTokenizer(folder: string, kind: string, template?: string): string {
  const own = join(folder, kind);
  mkdirSync(own, { recursive: true });
  for (const [file, text] of Object.entries(recorded.parse(recordedTokenizer(kind)).files))
    writeFileSync(join(own, file), text);
  if (template !== undefined) writeFileSync(join(own, 'chat_template.jinja'), template);
  return own;
}
