import { rows } from './contribFused.rows.ts';
import { gradientTable } from './table.ts';

gradientTable('fused operators', rows);
