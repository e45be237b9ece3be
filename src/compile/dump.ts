/** `--dump DIR`: the text of the model after every pass that ran, numbered in order. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { printModel } from '../emit/index.ts';
import { LoraifyError, writeFailed } from '../errors.ts';
import { makeFolders } from '../formats/files.ts';
import type { OnPass } from '../passes/index.ts';

/** A listener that writes `NNN-STAGE-PASS.onnx.txt` into `folder`, or none. Errors: WRITE_FAILED. */
export function dumper(folder: string | undefined): OnPass | undefined {
  if (folder === undefined) return undefined;
  let count = 0;
  return ({ stage, pass, model }) => {
    const file = join(folder, `${String(count++).padStart(3, '0')}-${stage}-${pass}.onnx.txt`);
    try {
      makeFolders(folder);
      writeFileSync(file, printModel(model, { comments: true }));
    } catch (error) {
      if (error instanceof LoraifyError) throw error;
      throw writeFailed(file, error instanceof Error ? error.message : String(error));
    }
  };
}
