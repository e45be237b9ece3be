/** All tables of numeric rows. */
import type { Case } from '../support/gradients/harness.ts';
import { completeRows, type Table } from '../support/gradients/tables.ts';
import * as attention from './attention.rows.ts';
import * as contribAttention from './contribAttention.rows.ts';
import * as contribFused from './contribFused.rows.ts';
import * as contribNorm from './contribNorm.rows.ts';
import * as conv from './conv.rows.ts';
import * as elementwise from './elementwise.rows.ts';
import * as experts from './experts.rows.ts';
import * as indexing from './indexing.rows.ts';
import * as layout from './layout.rows.ts';
import * as linear from './linear.rows.ts';
import * as losses from './losses.rows.ts';
import * as ml from './ml.rows.ts';
import * as norm from './norm.rows.ts';
import * as pool from './pool.rows.ts';
import * as recurrent from './recurrent.rows.ts';
import * as reduce from './reduce.rows.ts';
import * as sampling from './sampling.rows.ts';
import * as signal from './signal.rows.ts';
import * as spatial from './spatial.rows.ts';
import * as stateful from './stateful.rows.ts';

export const tables: readonly Table[] = [
  elementwise,
  linear,
  recurrent,
  reduce,
  layout,
  indexing,
  norm,
  contribNorm,
  conv,
  pool,
  spatial,
  sampling,
  signal,
  attention,
  contribAttention,
  contribFused,
  experts,
  stateful,
  losses,
  ml,
];

export const allRows: readonly Case[] = tables.flatMap(completeRows);
