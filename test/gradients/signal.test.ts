import { rows } from './signal.rows.ts';
import { gradientTable } from './table.ts';

gradientTable('signals', rows);
