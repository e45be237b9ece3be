import { rows } from './linear.rows.ts';
import { gradientTable } from './table.ts';

gradientTable('products', rows);
