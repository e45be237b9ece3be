import { rows } from './sampling.rows.ts';
import { gradientTable } from './table.ts';

gradientTable('sampling', rows);
