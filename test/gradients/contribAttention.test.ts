import { rows } from './contribAttention.rows.ts';
import { gradientTable } from './table.ts';

gradientTable('contributed attention', rows);
