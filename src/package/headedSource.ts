/** A source with a new head: it takes the place of the source in a package, which merges and exports read. */
import { dirname } from 'node:path';
import { editedBytes, partsOf } from '../emit/index.ts';
import { type Parsed, parseSource } from '../parser/index.ts';
import { type HeadPlan, heading, type OnPass, runStage } from '../passes/index.ts';

/** Closing the result closes `parsed`, whose model is changed. Equal plans give equal bytes. */
export function withHead({ model, source }: Parsed, plan: HeadPlan, onPass?: OnPass): Parsed {
  const before = partsOf(model.graph);
  runStage(heading, { model, plan }, onPass);
  const bytes = editedBytes(source, before, model);
  return parseSource(bytes, { folder: dirname(source.bytes.name) }, () => source.close());
}
