import { gradientTable } from '../support/gradients/table.ts';
import { rows } from './linear.rows.ts';

gradientTable('products', rows);
