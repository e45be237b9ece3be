import { rows } from './losses.rows.ts';
import { gradientTable } from './table.ts';

gradientTable('Einsum and losses', rows);
