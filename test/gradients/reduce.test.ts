import { rows } from './reduce.rows.ts';
import { gradientTable } from './table.ts';

gradientTable('reductions', rows);
