/** `--dump DIR`: the text of the model after every pass, numbered in order. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { printModel } from '../emit/index.ts';
import { writeFailed } from '../errors.ts';
import type { Model } from '../graph/model.ts';

/** A trace function that writes into `folder`, or undefined. */
export function dumper(folder: string | undefined): ((pass: string, model: Model) => void) | undefined {
  if (folder === undefined) return undefined;
  let count = 0;
  return (pass, model) => {
    const file = join(folder, `${String(count++).padStart(2, '0')}-${pass}.onnx.txt`);
    try {
      mkdirSync(folder, { recursive: true });
      writeFileSync(file, printModel(model, { comments: true }));
    } catch (error) {
      throw writeFailed(file, error instanceof Error ? error.message : String(error));
    }
  };
}
