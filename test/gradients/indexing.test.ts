import { rows } from './indexing.rows.ts';
import { gradientTable } from './table.ts';

gradientTable('indexing', rows);
