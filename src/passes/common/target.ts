import { keysOf } from '../../graph/choices/choice.ts';
import { targets as rows, type Target } from '../../graph/choices/compile.ts';

export type { Target } from '../../graph/choices/compile.ts';

/** The execution providers that training graphs are made for. */
export const targets: readonly Target[] = keysOf(rows);

/** Whether graphs for this provider may have fused operators that WebGPU and the standard lack. */
export const takesFused = (target: Target): boolean => rows[target].fused;
