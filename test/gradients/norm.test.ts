import { rows } from './norm.rows.ts';
import { gradientTable } from './table.ts';

gradientTable('normalizations', rows);
