import { rows } from './conv.rows.ts';
import { gradientTable } from './table.ts';

gradientTable('convolutions', rows);
