import { gradientTable } from '../support/gradients/table.ts';
import { rows } from './empty.rows.ts';

gradientTable('empty batches', rows);
