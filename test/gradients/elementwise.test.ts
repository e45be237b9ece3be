import { gradientTable } from '../support/gradients/table.ts';
import { rows } from './elementwise.rows.ts';

gradientTable('elementwise operators', rows);
