import { rows } from './attention.rows.ts';
import { gradientTable } from './table.ts';

gradientTable('attention', rows);
