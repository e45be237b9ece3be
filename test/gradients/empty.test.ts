import { rows } from './empty.rows.ts';
import { gradientTable } from './table.ts';

gradientTable('empty batches', rows);
