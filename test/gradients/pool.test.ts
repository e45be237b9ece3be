import { rows } from './pool.rows.ts';
import { gradientTable } from './table.ts';

gradientTable('pools', rows);
