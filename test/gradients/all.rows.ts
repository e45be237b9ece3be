/** All tables. */

import type { Case } from '../support/gradients/harness.ts';
import { rows as attention } from './attention.rows.ts';
import { rows as contribAttention } from './contribAttention.rows.ts';
import { rows as contribFused } from './contribFused.rows.ts';
import { rows as contribNorm } from './contribNorm.rows.ts';
import { rows as conv } from './conv.rows.ts';
import { rows as elementwise } from './elementwise.rows.ts';
import { rows as empty } from './empty.rows.ts';
import { rows as indexing } from './indexing.rows.ts';
import { rows as layout } from './layout.rows.ts';
import { rows as linear } from './linear.rows.ts';
import { rows as losses } from './losses.rows.ts';
import { rows as norm } from './norm.rows.ts';
import { rows as pool } from './pool.rows.ts';
import { rows as recurrent } from './recurrent.rows.ts';
import { rows as reduce } from './reduce.rows.ts';
import { rows as sampling } from './sampling.rows.ts';
import { rows as signal } from './signal.rows.ts';
import { rows as spatial } from './spatial.rows.ts';

export const allRows: readonly Case[] = [
  ...elementwise,
  ...linear,
  ...recurrent,
  ...reduce,
  ...layout,
  ...indexing,
  ...norm,
  ...contribNorm,
  ...conv,
  ...pool,
  ...spatial,
  ...sampling,
  ...signal,
  ...attention,
  ...contribAttention,
  ...contribFused,
  ...losses,
  ...empty,
];
