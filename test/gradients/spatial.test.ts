import { rows } from './spatial.rows.ts';
import { gradientTable } from './table.ts';

gradientTable('image operators', rows);
