import { rows } from './contribNorm.rows.ts';
import { gradientTable } from './table.ts';

gradientTable('contributed normalizations', rows);
