import { rows } from './elementwise.rows.ts';
import { gradientTable } from './table.ts';

gradientTable('elementwise operators', rows);
