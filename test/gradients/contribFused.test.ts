import { gradientTable } from '../support/gradients/table.ts';
import { rows } from './contribFused.rows.ts';

gradientTable('fused operators', rows);
