import { rows } from './recurrent.rows.ts';
import { gradientTable } from './table.ts';

gradientTable('recurrences', rows);
