/** Everything that a random graph is made of. */
import { steps as contrib } from './contrib.steps.ts';
import { steps as control } from './control.steps.ts';
import { steps as elementwise } from './elementwise.steps.ts';
import { steps as functions } from './function.steps.ts';
import { steps as image } from './image.steps.ts';
import { steps as indexing } from './indexing.steps.ts';
import { steps as layout } from './layout.steps.ts';
import { steps as linear } from './linear.steps.ts';
import { steps as recurrent } from './recurrent.steps.ts';
import { steps as reduce } from './reduce.steps.ts';
import { stepsOfRows } from './rows.steps.ts';
import { steps as shapes } from './shapes.steps.ts';
import type { Step } from './step.ts';
import { steps as rewritten } from './written.steps.ts';

const written: readonly Step[] = [
  ...elementwise,
  ...layout,
  ...indexing,
  // Products have the layers, so they come three times as often as the rest.
  ...linear,
  ...linear,
  ...linear,
  ...reduce,
  ...image,
  ...recurrent,
  ...shapes,
  ...control,
  ...functions,
  ...contrib,
  ...rewritten,
];

export const steps: readonly Step[] = [...written, ...stepsOfRows(new Set(written.flatMap((s) => s.ops)))];
