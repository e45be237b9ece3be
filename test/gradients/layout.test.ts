import { rows } from './layout.rows.ts';
import { gradientTable } from './table.ts';

gradientTable('layout', rows);
